//! Paths of znodes: which are legal, and how one is taken apart.

use crate::error_code::ErrorCode;

/// Whether `path` may name a znode, by the rules of ZooKeeper's `PathUtils.validatePath`.
///
/// # Errors
/// [`ErrorCode::BadArguments`] unless `path` starts with `/`, has no empty, `.` or `..` segment, does not end in `/`
/// (other than `/` itself), and holds none of the characters that ZooKeeper forbids.
pub fn validate(path: &str) -> Result<(), ErrorCode> {
    let Some(segments) = path.strip_prefix('/') else { return Err(ErrorCode::BadArguments) };
    if segments.is_empty() {
        return Ok(());
    }
    let legal = segments.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    if legal && !path.chars().any(is_forbidden) { Ok(()) } else { Err(ErrorCode::BadArguments) }
}

/// The path of the parent; none for `/` and for what holds no `/`.
pub fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

/// What stands behind the last `/`: the name under the parent; empty for `/`.
pub fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// ZooKeeper judges UTF-16 units and forbids surrogates, so every character beyond the basic plane is forbidden too.
fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_paths() {
        for path in
            ["/", "/a", "/a/b", "/.a", "/a.", "/...", "/a b", "/ü/日本", "/~\u{a0}", "/\u{f900}\u{ffef}"]
        {
            assert_eq!(validate(path), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn illegal_paths() {
        let shapes = ["", "a", "a/b", "/a/", "//", "//a", "/a//b", "/.", "/..", "/a/./b", "/a/../b", "/a/.."];
        let characters =
            ["/\0", "/\u{1}", "/\u{1f}", "/\u{7f}", "/\u{9f}", "/\u{e000}", "/\u{f8ff}", "/\u{fff0}"];
        for path in shapes.into_iter().chain(characters).chain(["/\u{ffff}", "/😀"]) {
            assert_eq!(validate(path), Err(ErrorCode::BadArguments), "{path:?}");
        }
    }

    #[test]
    fn a_path_comes_apart() {
        assert_eq!((parent("/"), name("/")), (None, ""));
        assert_eq!((parent("/a"), name("/a")), (Some("/"), "a"));
        assert_eq!((parent("/a/b"), name("/a/b")), (Some("/a"), "b"));
        assert_eq!((parent("/a/"), name("/a/")), (Some("/a"), ""));
        assert_eq!((parent("a"), name("a")), (None, "a"));
    }
}
