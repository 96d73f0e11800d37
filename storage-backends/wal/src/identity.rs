//! The file that says whose log a directory holds.

use std::sync::Arc;

use aquifer_disk::{BLOCK, Disk};

use crate::frame::VERSION;
use crate::{Identity, OpenError};

/// The file's name.
pub(crate) const FILE: &str = "identity";

const MAGIC: [u8; 8] = *b"AquiferW";
const LENGTH: usize = 8 + 2 + 8 + 16 + 4 + 4;
/// Two, so that a damaged block does not make a whole log unreadable.
const COPIES: usize = 2;

/// Checks that the directory is ours; whether it is blank (and so is to be made ours).
///
/// `logs` tells whether log files exist, which never do before the identity is durable.
pub(crate) async fn check(disk: &Arc<dyn Disk>, ours: &Identity, logs: bool) -> Result<bool, OpenError> {
    let path = disk.path().join(FILE);
    let damaged = || OpenError::IdentityDamaged { path: path.clone() };
    let file = match disk.open(FILE).await {
        Ok(file) if file.length() == (COPIES * BLOCK) as u64 => file,
        Err(aquifer_disk::DiskError::NotFound { .. }) if !logs => return Ok(true),
        Ok(_) | Err(aquifer_disk::DiskError::NotFound { .. }) => return Err(damaged()),
        Err(error) => return Err(error.into()),
    };
    let content = file.read(0, COPIES * BLOCK).await?;
    let Some((version, found)) = content.chunks(BLOCK).find_map(decode) else {
        // A crash right after the file was created leaves zeros, and nothing else in the directory.
        return if logs { Err(damaged()) } else { Ok(true) };
    };
    if version != VERSION {
        return Err(OpenError::Version { path, found: version, supported: VERSION });
    }
    compare(&path, &found, ours)?;
    Ok(false)
}

/// Makes a blank directory ours.
pub(crate) async fn write(disk: &Arc<dyn Disk>, ours: &Identity) -> Result<(), OpenError> {
    let file = match disk.open(FILE).await {
        Ok(file) => file,
        Err(aquifer_disk::DiskError::NotFound { .. }) => disk.create(FILE, (COPIES * BLOCK) as u64).await?,
        Err(error) => return Err(error.into()),
    };
    let mut content = disk.pool().zeros(COPIES * BLOCK);
    for copy in content.chunks_mut(BLOCK) {
        copy[..LENGTH].copy_from_slice(&encode(ours));
    }
    Ok(file.write(0, Arc::new(content)).await?)
}

/// Tells the operator which part of an identity is not ours.
pub(crate) fn compare(path: &std::path::Path, found: &Identity, ours: &Identity) -> Result<(), OpenError> {
    let foreign = |what, found, expected, remedy| {
        Err(OpenError::Foreign { path: path.to_owned(), what, found, expected, remedy })
    };
    if found.cluster != ours.cluster {
        return foreign(
            "the cluster with the id hash",
            format!("{:016x}", found.cluster),
            format!("{:016x}", ours.cluster),
            "set wal.dir to this cluster's directory, or restore the metadata.dir that belongs to this WAL; if the other \
             cluster is gone for good, move this directory away",
        );
    }
    if found.owner != ours.owner {
        return foreign(
            "node",
            found.owner.to_string(),
            ours.owner.to_string(),
            "set node.id back to the id that wrote this WAL, or point wal.dir to this node's own directory",
        );
    }
    if found.disk != ours.disk {
        return foreign(
            "the disk with the uuid",
            format!("{:032x}", found.disk),
            format!("{:032x}", ours.disk),
            "this is another copy of the node's WAL: mount the disk that the node used last, or move this directory away \
             to give up what is in it",
        );
    }
    Ok(())
}

fn encode(identity: &Identity) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[10..18].copy_from_slice(&identity.cluster.to_le_bytes());
    bytes[18..34].copy_from_slice(&identity.disk.to_le_bytes());
    bytes[34..38].copy_from_slice(&identity.owner.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..38]);
    bytes[38..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(block: &[u8]) -> Option<(u16, Identity)> {
    let bytes = &block[..LENGTH];
    if bytes[..8] != MAGIC || bytes[38..] != crc32c::crc32c(&bytes[..38]).to_le_bytes() {
        return None;
    }
    let version = u16::from_le_bytes(bytes[8..10].try_into().ok()?);
    let identity = Identity {
        cluster: u64::from_le_bytes(bytes[10..18].try_into().ok()?),
        disk: u128::from_le_bytes(bytes[18..34].try_into().ok()?),
        owner: u32::from_le_bytes(bytes[34..38].try_into().ok()?),
    };
    Some((version, identity))
}
