use crate::error::{ErrorKind, Failure};

/// Longest key: S3 allows 1024 bytes with the prefix, which may take the other half.
const MAX_KEY_BYTES: usize = 512;
/// Longest segment: a file name on ext4, XFS and HDFS, with room for the suffix of a staged name.
const MAX_SEGMENT_BYTES: usize = 200;

/// The segment under which the HDFS backend stages uploads; never a user's.
pub(crate) const STAGING: &str = ".uploads";

/// Keys are segments of `[A-Za-z0-9._=+-]` joined by `/`, none empty or starting with a dot. So a
/// key is spelled the same in a URL, in a file system and in HDFS.
pub(crate) fn check(key: &str) -> Result<(), Failure> {
    let bad = |reason: &str| Err(Failure::none(ErrorKind::Invalid, format!("the key '{key}' {reason}")));
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return bad(&format!("must have 1 to {MAX_KEY_BYTES} bytes"));
    }
    for segment in key.split('/') {
        if segment.is_empty() || segment.len() > MAX_SEGMENT_BYTES {
            return bad(&format!("must have segments of 1 to {MAX_SEGMENT_BYTES} bytes"));
        }
        if segment.starts_with('.') {
            return bad("has a segment that starts with a dot, which is reserved");
        }
        if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._=+-".contains(&b)) {
            return bad("may only have letters, digits and . _ = + - between slashes");
        }
    }
    Ok(())
}

/// A prefix is empty (everything) or a key, with or without a slash at its end; without it is returned.
pub(crate) fn check_prefix(prefix: &str) -> Result<&str, Failure> {
    let bare = prefix.strip_suffix('/').unwrap_or(prefix);
    if !bare.is_empty() {
        check(bare)?;
    }
    Ok(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_plain_segments() {
        for good in ["a", "a/b/c", "objects/0f/00000000000000ff", "A_b=c+d-e.f"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "a/../b", ".uploads/a", "a#1", "a b", "ä", &"x".repeat(201)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_may_be_empty_or_end_in_a_slash() {
        assert_eq!(check_prefix("").expect("everything"), "");
        assert_eq!(check_prefix("a/b/").expect("with a slash"), "a/b");
        assert!(check_prefix("/").is_ok());
        assert!(check_prefix("a//").is_err());
    }
}
