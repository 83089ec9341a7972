//! Following a path, symbolic links included.
//!
//! File systems only ever see paths without links, `.` and `..`. Links are bounded in number and length as in Linux
//! (`path_resolution(7)`), so that loops end.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use super::{FileSystem, FsError, Node};

/// Most links on the way to a file.
const MAX_LINKS: usize = 40;
/// Longest path in bytes, without links or with what is left of one to follow.
const MAX_PATH: usize = 4095;
/// Longest name in bytes, as of Linux and all file systems here.
const MAX_NAME: usize = 255;

/// Follows `path` from the root of `fs`; tells the file's own path and size.
///
/// # Errors
/// [`FsError`].
pub fn resolve(fs: &mut dyn FileSystem, path: &str) -> Result<(String, u64), FsError> {
    let mut ahead: Vec<String> = Vec::new();
    push(&mut ahead, path)?;
    // Where we are: a path like "/boot/grub", or nothing at the root.
    let mut here = String::new();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            here.truncate(here.rfind('/').unwrap_or(0));
            continue;
        }
        let parent = here.len();
        here.push('/');
        here.push_str(&name);
        if here.len() > MAX_PATH {
            return Err(FsError::PathTooLong);
        }
        match fs.look_up(&here)? {
            Node::Directory => {}
            Node::File { size } if ahead.is_empty() => return Ok((here, size)),
            Node::File { .. } => return Err(FsError::NotADirectory { path: here }),
            Node::Link { target } => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(FsError::TooManyLinks { limit: MAX_LINKS });
                }
                here.truncate(if target.starts_with('/') { 0 } else { parent });
                push(&mut ahead, &target)?;
            }
        }
    }
    here.push('/');
    Err(FsError::NotAFile { path: here })
}

/// Puts the names of `path` before those that are still ahead, of which the next one is the last.
fn push(ahead: &mut Vec<String>, path: &str) -> Result<(), FsError> {
    let waiting: usize = ahead.iter().map(|name| name.len() + 1).sum();
    if waiting + path.len() > MAX_PATH {
        return Err(FsError::PathTooLong);
    }
    for name in path.rsplit('/').filter(|name| !name.is_empty() && *name != ".") {
        if name.len() > MAX_NAME || name.contains('\0') {
            return Err(FsError::Name { name: name.to_owned() });
        }
        ahead.push(name.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Tree(BTreeMap<&'static str, Node>);

    impl FileSystem for Tree {
        fn look_up(&mut self, path: &str) -> Result<Node, FsError> {
            self.0.get(path).cloned().ok_or_else(|| FsError::NotFound { path: path.into() })
        }

        fn read(&mut self, _: &str, _: &mut [u8]) -> Result<(), FsError> {
            Ok(())
        }
    }

    fn follow(path: &str) -> Result<String, String> {
        let link = |target: &str| Node::Link { target: target.into() };
        let mut tree = Tree(BTreeMap::from([
            ("/boot", Node::Directory),
            ("/boot/Image-6", Node::File { size: 6 }),
            ("/boot/Image", link("Image-6")),
            ("/vmlinuz", link("boot/Image")),
            ("/usr", Node::Directory),
            ("/usr/lib", link("/boot/../boot/.//")),
            ("/usr/up", link("../vmlinuz")),
            ("/loop", link("/loop")),
            ("/grow", link("grow/and/grow")),
            ("/long", Node::Link { target: "x".repeat(256) }),
        ]));
        resolve(&mut tree, path).map(|(path, _)| path).map_err(|error| error.to_string())
    }

    #[test]
    fn links_are_followed_wherever_they_are() {
        for path in [
            "boot/Image-6",
            "/vmlinuz",
            "//usr/./lib/Image",
            "/usr/up",
            "/usr/../../boot/Image",
            "/usr/lib/../vmlinuz",
        ] {
            assert_eq!(follow(path).as_deref(), Ok("/boot/Image-6"), "{path}");
        }
    }

    #[test]
    fn loops_and_names_that_cannot_be_are_told() {
        let told = |path: &str| follow(path).unwrap_err();
        assert!(told("/loop").contains("more than 40"));
        assert!(told("/grow").contains("more than 40"));
        assert!(told("/long").contains("is not a name"));
        assert_eq!(told("/usr/none/x"), "there is no /usr/none");
        assert_eq!(told("/vmlinuz/x"), "/boot/Image-6 is not a directory");
        assert_eq!(told("/usr/lib"), "/boot/ is not a file");
        assert_eq!(told("/"), "/ is not a file");
        assert!(told(&"/boot/..".repeat(600)).contains("too long"));
    }
}
