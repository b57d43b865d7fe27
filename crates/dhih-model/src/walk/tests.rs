//! The walk in folders as they occur in practice. Programs that listed folders on their own failed here: they followed a link to a parent folder
//! without end, a dangling link or unreadable folder ended the whole walk, they waited for a pipe, took thumbnails of a network disk for
//! pictures, and skipped unreadable files without a word.

use std::path::{Path, PathBuf};

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Paths below the root, with `/` between their parts.
fn below(root: &Path, paths: &[PathBuf]) -> Vec<String> {
    let name = |path: &PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    paths.iter().map(name).collect()
}

#[test]
fn files_of_any_depth_come_in_the_order_of_their_paths() {
    let root = tempfile::tempdir().unwrap();
    for name in ["b/2.png", "b/10.png", "a.png", "b c/1.png", "b/x/y/z/0.png"] {
        write(root.path(), name, PNG);
    }
    let walk = Walk::of(root.path()).unwrap();
    let files = below(root.path(), &walk.files);
    assert_eq!(files, ["a.png", "b/10.png", "b/2.png", "b/x/y/z/0.png", "b c/1.png"]);
    assert_eq!(below(root.path(), &walk.folders), ["b", "b/x", "b/x/y", "b/x/y/z", "b c"]);
    assert!(walk.left_out.is_empty());
}

#[test]
fn a_root_that_is_no_folder_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "a.png", PNG);
    assert!(Walk::of(&root.path().join("a.png")).is_err());
    assert!(Walk::of(&root.path().join("absent")).is_err());
}

#[test]
fn hidden_names_and_folders_of_systems_are_left_out_but_the_root_may_be_one() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join(".cache/@eaDir");
    write(&root, "a/1.png", PNG);
    for name in [".ipynb_checkpoints", ".Trash-1000/files", "@eaDir", "$Recycle.Bin", "LOST+FOUND"]
    {
        write(&root.join("a"), &format!("{name}/x.png"), PNG);
    }
    write(&root, "a/._1.png", b"\0\x05\x16\x07");
    // Only folders are helper folders.
    write(&root, "a/__pycache__x.png", PNG);
    write(&root, "a/#recycle/x.png", PNG);
    let walk = Walk::of(&root).unwrap();
    assert_eq!(below(&root, &walk.files), ["a/1.png", "a/__pycache__x.png"]);
    assert_eq!(
        (walk.left_out.count(&Reason::Hidden), walk.left_out.count(&Reason::HelperFolder)),
        (3, 4)
    );
    assert!(walk.left_out.refuse_faults().is_ok());
    let summary = walk.left_out.summary().unwrap();
    assert!(summary.contains("LOST+FOUND"), "{summary}");
}

#[test]
fn pictures_are_known_by_their_content() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a.jfif", "b.JPG_large", "c"] {
        write(root.path(), name, b"\xff\xd8\xff\xe0\0\x10JFIF");
    }
    write(root.path(), "notes.txt", b"not a picture");
    write(root.path(), "page.jpg", b"<html>404</html>");
    write(root.path(), "empty.png", b"");
    let walk = Walk::pictures(root.path()).unwrap();
    let files = below(root.path(), &walk.files);
    assert_eq!(files, ["a.jfif", "b.JPG_large", "c", "empty.png", "page.jpg"]);
    assert_eq!(walk.left_out.count(&Reason::OtherFile), 1);
    assert!(walk.left_out.faults().is_empty());
    // The content of files is checked when they are read, or before work begins.
    assert_eq!(
        read_picture(&root.path().join("page.jpg"), &Limits::files()),
        Err(Reason::NotAPicture)
    );
    assert_eq!(
        read_picture(&root.path().join("notes.txt"), &Limits::files()),
        Err(Reason::OtherFile)
    );
    assert!(read_picture(&root.path().join("c"), &Limits::files()).is_ok());
    assert_eq!(faults_of(&walk.files).faults().len(), 2);
}

/// An uncompressed picture of 200 megapixels with four channels was once refused as too long.
#[test]
fn a_file_is_read_where_a_picture_within_the_limits_may_have_its_length() {
    assert!(Limits::files().max_file_bytes() > 4 * 200_000_000);
    assert!(Limits::of_files(65_535, 1).max_file_bytes() >= 256 << 20);
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("long.png");
    std::fs::write(&path, PNG).unwrap();
    let limits = Limits::of_files(65_535, 40_000_000);
    let most_bytes = 320_000_000;
    // The file is sparse.
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(most_bytes + 1).unwrap();
    let refused = read_picture(&path, &limits).unwrap_err();
    assert_eq!(refused, Reason::TooLong { most_bytes });
    assert!(
        refused.to_string().contains("305 MiB") && refused.to_string().contains("--max-pixels")
    );
    file.set_len(270 << 20).unwrap();
    assert_eq!(read_picture(&path, &limits).unwrap().len(), 270 << 20);
    // A file that is not a picture is not read any further.
    let other = root.path().join("film.jpg");
    File::create(&other).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(read_picture(&other, &limits), Err(Reason::NotAPicture));
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn links_that_lead_in_circles_end_and_each_file_counts_once() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a/1.png", "b/2.png"] {
            write(root.path(), name, PNG);
        }
        for (target, link) in
            [("..", "a/up"), ("..", "b/up"), (".", "self"), ("b", "0"), ("0", "c")]
        {
            symlink(target, root.path().join(link)).unwrap();
        }
        symlink("loop", root.path().join("loop")).unwrap();
        let walk = Walk::of(root.path()).unwrap();
        // Files have their own paths, although the link `0` comes first by name.
        assert_eq!(below(root.path(), &walk.files), ["a/1.png", "b/2.png"]);
        assert_eq!(
            (
                walk.left_out.count(&Reason::Repeated),
                walk.left_out.count(&Reason::DanglingLink { cause: String::new() })
            ),
            (5, 1)
        );
        assert_eq!(walk.left_out.faults()[0].path, root.path().join("loop"));
    }

    #[test]
    fn links_out_of_the_folder_are_followed_once() {
        let place = tempfile::tempdir().unwrap();
        let (root, store) = (place.path().join("root"), place.path().join("store"));
        write(&root, "own.png", PNG);
        for name in ["x/1.png", "x/2.png", "y.png"] {
            write(&store, name, PNG);
        }
        for (target, link) in [
            (store.join("x"), "a"),
            (store.clone(), "b"),
            (store.join("y.png"), "0.png"),
            (store.join("x/1.png"), "one.png"),
            (root.join("own.png"), "again.png"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let walk = Walk::of(&root).unwrap();
        assert_eq!(below(&root, &walk.files), ["0.png", "a/1.png", "a/2.png", "own.png"]);
        // b/x, b/y.png, one.png and again.png.
        assert_eq!(walk.left_out.count(&Reason::Repeated), 4);
        // The root may be a link.
        let link = place.path().join("link");
        symlink(&root, &link).unwrap();
        assert_eq!(below(&link, &Walk::of(&link).unwrap().files), below(&root, &walk.files));
    }

    #[test]
    fn hard_links_are_files_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "a.png", PNG);
        std::fs::hard_link(root.path().join("a.png"), root.path().join("b.png")).unwrap();
        symlink("a.png", root.path().join("c.png")).unwrap();
        let walk = Walk::of(root.path()).unwrap();
        assert_eq!(below(root.path(), &walk.files), ["a.png", "b.png"]);
    }

    #[test]
    fn pipes_devices_and_dangling_links_are_listed_and_never_opened() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "a.png", PNG);
        let pipe = root.path().join("pipe.jpg");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        symlink("/dev/zero", root.path().join("zero.jpg")).unwrap();
        symlink("/nowhere/gone.jpg", root.path().join("gone.jpg")).unwrap();
        let walk = Walk::pictures(root.path()).unwrap();
        assert_eq!(below(root.path(), &walk.files), ["a.png"]);
        assert_eq!(
            (
                walk.left_out.count(&Reason::NotAFile),
                walk.left_out.count(&Reason::DanglingLink { cause: String::new() })
            ),
            (2, 1)
        );
        // `--strict` looks at the beginnings of files that the user named, which may be pipes.
        assert!(faults_of(&[pipe]).is_empty());
        let error = walk.left_out.refuse_faults().unwrap_err().to_string();
        assert!(error.contains("gone.jpg"), "{error}");
    }

    #[test]
    fn what_may_not_be_read_is_listed_and_the_walk_goes_on() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a/1.png", "locked/2.png", "z/3.png"] {
            write(root.path(), name, PNG);
        }
        let locked = root.path().join("locked");
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        // The user root can read everything.
        let reads_all = std::fs::read_dir(&locked).is_ok();
        let walk = Walk::of(root.path());
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o755)).unwrap();
        let walk = walk.unwrap();
        assert_eq!(walk.files.len(), if reads_all { 3 } else { 2 });
        assert_eq!(
            walk.left_out.count(&Reason::Unreadable { cause: String::new() }),
            usize::from(!reads_all)
        );
    }

    #[test]
    fn names_are_kept_as_bytes() {
        let root = tempfile::tempdir().unwrap();
        let names = [b"caf\xe8.png", b"caf\xe9.png"];
        for name in names {
            std::fs::write(root.path().join(OsStr::from_bytes(name)), PNG).unwrap();
        }
        let walk = Walk::pictures(root.path()).unwrap();
        let found: Vec<_> = walk.files.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(found, names.map(|name| OsStr::from_bytes(name)));
        assert_eq!(text_of(found[0]), r"caf\xE8.png");
    }
}
