//! Files are whole or not there, temporary files are never another process's, and a log that could not grow is as it was.

use super::fault::Fault;
use super::*;

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    write(&path, |file| file.write_all(b"old")).unwrap();
    let failed = write(&path, |file| {
        file.write_all(b"half")?;
        Err(io::Error::other("no space"))
    });
    assert!(matches!(failed, Err(Error::Io { action: "write", .. })));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    write(&path, |file| file.write_all(b"new")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["file"]);
    assert!(write(Path::new("/"), |_| Ok(())).is_err());
}

/// The bug: `--out /dev/null` of a user that may write to `/dev` replaced the device by a file.
#[cfg(unix)]
#[test]
fn devices_and_links_stay_what_they_are() {
    use std::os::unix::fs::symlink;

    let dir = tempfile::tempdir().unwrap();
    let [device, link, file] = ["device", "link", "file"].map(|name| dir.path().join(name));
    symlink("/dev/null", &device).unwrap();
    symlink("file", &link).unwrap();
    for text in [b"old", b"new"] {
        fs::write(&file, b"before").unwrap();
        for path in [&device, &link] {
            write(path, |out| out.write_all(text)).unwrap();
            assert!(path.is_symlink());
        }
        assert_eq!(fs::read(&file).unwrap(), text);
    }
    let failed = write(&link, |_| Err(io::Error::other("no space")));
    assert!(failed.is_err() && fs::read(&link).unwrap() == b"new");
    assert_eq!(names(dir.path()), ["device", "file", "link"]);
}

#[test]
fn what_a_killed_process_left_goes_and_what_another_is_writing_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    // A process that was killed: its file is there, and nobody holds the lock.
    fs::write(dir.path().join(format!(".file.00000000deadbeef{TEMPORARY}")), b"half").unwrap();
    fs::write(dir.path().join(format!(".other.00000000deadbeef{TEMPORARY}")), b"half").unwrap();
    let written_by_another = NewFile::create(dir.path(), "file").unwrap();
    write(&path, |file| file.write_all(b"whole")).unwrap();
    let other = format!(".other.00000000deadbeef{TEMPORARY}");
    let mut expected =
        vec![written_by_another.path().file_name().unwrap().to_str().unwrap().to_owned(), other];
    expected.push("file".to_owned());
    expected.sort();
    assert_eq!(names(dir.path()), expected);
    drop(written_by_another);
    assert_eq!(names(dir.path()).len(), 2);
}

/// The bug: where locks do not work, the temporary files of processes that were still writing were removed.
#[test]
fn without_locks_no_temporary_file_counts_as_abandoned() {
    let no_locks = TryLockError::Error(io::Error::from(ErrorKind::Unsupported));
    assert!(is_abandoned(&Ok(())));
    assert!(!is_abandoned(&Err(TryLockError::WouldBlock)) && !is_abandoned(&Err(no_locks)));
}

#[test]
fn directories_are_made_with_those_above_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    journal::start(dir.path());
    make_directory(&path).unwrap();
    make_directory(&path).unwrap();
    let events = journal::stop(dir.path());
    let made = events.iter().filter(|event| matches!(event, journal::Event::MakeDirectory(_)));
    let synced = events.iter().filter(|event| matches!(event, journal::Event::SyncDirectory(_)));
    assert_eq!((made.count(), synced.count()), (3, 3), "{events:?}");
    fs::write(dir.path().join("file"), b"").unwrap();
    assert!(make_directory(&dir.path().join("file/x")).is_err());
}

#[test]
fn a_log_that_could_not_be_written_to_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, b"head, torn").unwrap();
    let mut log = Appender::open(&path, 4).unwrap();
    log.append(b"-one").unwrap();
    fault::set(Some((0, Fault::Once)));
    assert!(matches!(log.append(b"-two"), Err(AppendError::Undone(_))));
    fault::set(None);
    assert_eq!(fs::read(&path).unwrap(), b"head-one");
    log.append(b"-three").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"head-one-three");
    // The half that was written cannot be cut off.
    fault::set(Some((0, Fault::Crash)));
    assert!(matches!(log.append(b"-four"), Err(AppendError::Unknown(_))));
    fault::set(None);
    assert_eq!(fs::read(&path).unwrap(), b"head-one-three-f");
}

#[test]
fn after_a_failed_sync_nothing_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, b"head").unwrap();
    let mut log = Appender::open(&path, 4).unwrap();
    fault::set(Some((1, Fault::OnceIo)));
    assert!(matches!(log.append(b"-one"), Err(AppendError::Unknown(_))));
    fault::set(None);
}
