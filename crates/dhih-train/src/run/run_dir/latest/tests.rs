//! Where `latest` leads, on file systems with links and without, and which runs are complete.

use super::*;

#[test]
fn where_no_links_can_be_made_latest_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir { path: dir.path().join("one") };
    let refused = |_: &Path, _: &Path| Err(std::io::Error::from(std::io::ErrorKind::Unsupported));
    let latest = dir.path().join("latest");
    for name in ["two", "one"] {
        let run = RunDir { path: dir.path().join(name) };
        std::fs::create_dir(&run.path).unwrap();
        std::fs::write(run.file(RunDir::CONFIG), "").unwrap();
        assert_eq!(run.link_latest(refused).unwrap(), None);
        assert_eq!(std::fs::read_to_string(&latest).unwrap(), format!("{name}\n"));
        assert_eq!(RunDir::open(&latest).unwrap().path, run.path);
    }
    // The same disk may have links on another day.
    assert_eq!(run.link_latest(link_to_folder).unwrap(), None);
    assert_eq!(std::fs::read_link(&latest).unwrap(), Path::new("one"));
}

#[test]
fn a_latest_that_is_something_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir { path: dir.path().join("one") };
    let latest = dir.path().join("latest");
    std::fs::write(&latest, "to do: name this file\n").unwrap();
    let note = run.link_latest(link_to_folder).unwrap().unwrap();
    assert!(note.contains("latest is no link, and stays as it is"), "{note}");
    assert_eq!(std::fs::read_to_string(&latest).unwrap(), "to do: name this file\n");
}
