use std::fmt;

/// So many of something, for people: `1 partition`, `5 partitions`.
///
/// ```
/// # use aquifer_types::Counted;
/// assert_eq!(Counted(1, "partition").to_string(), "1 partition");
/// assert_eq!(Counted(0, "partition").to_string(), "0 partitions");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted(pub usize, pub &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = *self;
        write!(f, "{count} {what}{}", if count == 1 { "" } else { "s" })
    }
}
