//! How a request is laid out on the wire: a table that the guard walks.

/// The last version of a field that is still in use.
pub(crate) const LAST: i16 = i16::MAX;

/// First flexible version of an API that has none.
pub(crate) const NEVER: i16 = i16::MAX;

/// The layout of one API's request over all its versions.
#[derive(Debug)]
pub struct Shape {
    /// Kafka's name of the API, for messages.
    pub api: &'static str,
    /// First version with compact lengths and tagged fields.
    pub flexible_from: i16,
    /// The body, in wire order.
    pub fields: &'static [Field],
}

/// One field and the versions that carry it.
#[derive(Debug)]
pub struct Field {
    /// Kafka's name in snake case, for messages.
    pub name: &'static str,
    /// First version that carries it.
    pub from: i16,
    /// Last version that carries it, inclusive.
    pub to: i16,
    /// Set when the field lives in the tagged section of its struct.
    pub tag: Option<u32>,
    /// Its type.
    pub kind: Kind,
}

/// The wire types, as far as lengths are concerned.
#[derive(Debug)]
pub enum Kind {
    /// That many bytes.
    Fixed(usize),
    /// A string, perhaps null.
    Text,
    /// Bytes or records, perhaps null.
    Blob,
    /// A list of values of that many bytes each.
    FixedList(usize),
    /// A list of strings.
    TextList,
    /// A list of structs.
    List(&'static [Field]),
    /// A struct.
    Struct(&'static [Field]),
    /// A struct behind a presence byte.
    Optional(&'static [Field]),
}

/// A field in its place.
pub(crate) const fn field(name: &'static str, from: i16, to: i16, kind: Kind) -> Field {
    Field { name, from, to, tag: None, kind }
}

/// A field in the tagged section of its struct.
pub(crate) const fn tagged(tag: u32, name: &'static str, from: i16, to: i16, kind: Kind) -> Field {
    Field { name, from, to, tag: Some(tag), kind }
}
