use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The log that the device mapper's `log-writes` target keeps: each write in the order in which it became durable at the
/// latest, flushes, and marks. Any prefix of it is a disk as a power cut may leave it.
///
/// Layout (little endian): a sector with magic, version, number of entries (u64 each) and sector size (u32); then, each at
/// a sector's begin, entries of sector, length in sectors, flags, length of data (u64 each), and behind the entry's sector
/// the data. A mark's text lies in the entry's own sector.
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    sector: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Where its header lies.
    at: u64,
    to: u64,
    sectors: u64,
    flags: u64,
    mark: Option<String>,
}

const MAGIC: u64 = 0x6a_7366_7773_6872;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;
const HEADER: usize = 32;
/// The unit of positions on the logged disk.
const DISK_SECTOR: u64 = 512;

impl WriteLog {
    /// Reads the log's headers.
    ///
    /// # Errors
    /// If it is not such a log, or cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0)?;
        let (magic, count) = (number(&head, 0), number(&head, 2));
        if magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("magic {magic:x}")));
        }
        let sector = u64::from(u32::from_le_bytes(head[24..].try_into().expect("four bytes")));
        let (mut entries, mut at) = (Vec::new(), sector);
        for _ in 0..count {
            let mut header = [0; HEADER];
            file.read_exact_at(&mut header, at)?;
            let [to, sectors, flags, data] = [0, 1, 2, 3].map(|field| number(&header, field));
            let mark = (flags & MARK != 0).then(|| {
                let mut text = vec![0; usize::try_from(data).expect("it fits a sector")];
                file.read_exact_at(&mut text, at + HEADER as u64)?;
                Ok::<_, io::Error>(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned())
            });
            entries.push(Entry { at, to, sectors, flags, mark: mark.transpose()? });
            let follows = if flags & (DISCARD | MARK) != 0 { 0 } else { sectors * sector };
            at += sector + follows;
        }
        Ok(Self { file, sector, entries })
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What follows `prefix` in the last such mark among the first `entries`. The kernel sets marks of its own.
    #[must_use]
    pub fn mark_before(&self, entries: usize, prefix: &str) -> Option<&str> {
        self.entries[..entries].iter().rev().find_map(|entry| entry.mark.as_deref()?.strip_prefix(prefix))
    }

    /// The position behind the first mark.
    #[must_use]
    pub fn first_mark(&self) -> Option<usize> {
        self.entries.iter().position(|entry| entry.mark.is_some()).map(|at| at + 1)
    }

    /// Writes these entries to an image of the disk.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn replay(&self, entries: std::ops::Range<usize>, image: &File) -> io::Result<()> {
        for entry in self.entries[entries].iter().filter(|entry| entry.flags & (DISCARD | MARK) == 0) {
            let mut bytes =
                vec![0; usize::try_from(entry.sectors * self.sector).expect("a write fits memory")];
            self.file.read_exact_at(&mut bytes, entry.at + self.sector)?;
            image.write_all_at(&bytes, entry.to * DISK_SECTOR)?;
        }
        Ok(())
    }
}

fn number(bytes: &[u8], field: usize) -> u64 {
    u64::from_le_bytes(bytes[field * 8..field * 8 + 8].try_into().expect("eight bytes"))
}
