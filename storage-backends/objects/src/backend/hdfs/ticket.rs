use std::fs;

/// Files of this size and more are no ticket cache.
const MOST_BYTES: u64 = 1 << 20;
/// The version whose layout is read here; MIT's and Heimdal's libraries have written it for twenty years.
const VERSION: &[u8] = &[5, 4];
/// Key type, times, flags: what lies between the names of a credential and its lists, and how much of it.
const FLAGS_BYTES: usize = 1 + 4;

/// When the ticket of a cache ends, in ms since 1970; `None` if the cache is no file, or holds no ticket.
///
/// Reads a small local file.
pub(super) fn end_ms(cache: &str) -> Option<i64> {
    let path = cache.strip_prefix("FILE:").unwrap_or(cache);
    if fs::metadata(path).ok()?.len() >= MOST_BYTES {
        return None;
    }
    let end_s = end_of_ticket(&fs::read(path).ok()?)?;
    Some(i64::from(end_s) * 1000)
}

/// The latest end of the tickets that stand for a login (`krbtgt/…`), in seconds since 1970.
///
/// The layout is MIT's "credential cache file format": big-endian, every text and list with its length before it.
fn end_of_ticket(file: &[u8]) -> Option<u32> {
    let mut cache = Reader(file.strip_prefix(VERSION)?);
    let header = cache.number(2)?;
    cache.skip(header)?;
    cache.principal()?; // whose cache it is
    let mut latest = None;
    // A file that ends within a credential is being written: what was whole before counts.
    while let Some((service, end)) = cache.credential() {
        if service == b"krbtgt" {
            latest = latest.max(Some(end));
        }
    }
    latest
}

/// What has not been read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The name of the service and the end of its ticket.
    fn credential(&mut self) -> Option<(&'a [u8], u32)> {
        self.principal()?; // the client
        let service = self.principal()?;
        self.skip(2)?; // the key's type
        self.text()?; // the key
        self.skip(2 * 4)?; // authenticated at, valid from
        let end = u32::try_from(self.number(4)?).ok()?;
        self.skip(4)?; // renewable till
        self.skip(FLAGS_BYTES)?;
        for _list in ["addresses", "authorization data"] {
            for _ in 0..self.number(4)? {
                self.skip(2)?;
                self.text()?;
            }
        }
        self.text()?; // the ticket
        self.text()?; // a second one
        Some((service, end))
    }

    /// The first component of a principal.
    fn principal(&mut self) -> Option<&'a [u8]> {
        self.skip(4)?; // its kind
        let components = self.number(4)?;
        self.text()?; // the realm
        let mut first = None;
        for _ in 0..components {
            let component = self.text()?;
            first.get_or_insert(component);
        }
        first
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number(4)?;
        self.take(length)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        let big_endian = self.take(bytes)?.iter();
        Some(big_endian.fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.take(bytes).map(drop)
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u32).to_be_bytes()[..], text].concat()
    }

    fn principal(components: &[&[u8]]) -> Vec<u8> {
        let names: Vec<u8> = components.iter().flat_map(|component| text(component)).collect();
        [&[0, 0, 0, 1][..], &(components.len() as u32).to_be_bytes(), &text(b"REALM"), &names].concat()
    }

    fn credential(service: &[u8], end: u32) -> Vec<u8> {
        let list = [&[0, 0, 0, 1, 0, 2][..], &text(b"address")].concat();
        [
            &principal(&[b"alice"])[..],
            &principal(&[service, b"REALM"]),
            &[0, 18],
            &text(b"key"),
            &[0; 8],
            &end.to_be_bytes(),
            &[0; 4],
            &[0; FLAGS_BYTES],
            &list,
            &[0; 4],
            &text(b"ticket"),
            &text(b""),
        ]
        .concat()
    }

    fn cache(credentials: &[Vec<u8>]) -> Vec<u8> {
        let head = [VERSION, &[0, 3], b"tag", &principal(&[b"alice"])].concat();
        [head, credentials.concat()].concat()
    }

    #[test]
    fn the_login_counts_and_not_the_tickets_it_was_used_for() {
        let file = cache(&[credential(b"krbtgt", 500), credential(b"nn", 900), credential(b"krbtgt", 700)]);
        assert_eq!(end_of_ticket(&file), Some(700));
        assert_eq!(end_of_ticket(&cache(&[credential(b"nn", 900)])), None);
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_no_reason_to_fail() {
        let file = cache(&[credential(b"krbtgt", 500), credential(b"krbtgt", 700)]);
        for length in 0..file.len() {
            assert!(end_of_ticket(&file[..length]) < Some(700), "{length}");
        }
        assert_eq!(end_of_ticket(b"no cache at all"), None);
        // Lengths that nothing backs.
        assert_eq!(end_of_ticket(&[5, 4, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255, 0, 0]), None);
    }

    #[test]
    fn a_cache_that_is_no_file_has_no_end() {
        assert_eq!(end_ms("KEYRING:persistent:0"), None);
    }
}
