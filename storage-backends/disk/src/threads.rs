use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::directory::RawFile;
use crate::mailbox::{Mailbox, Operation};
use crate::{DeviceFailure, DiskError};

/// Serves a mailbox with plain system calls until it is closed. All writes that wait share one `fdatasync` per file.
pub(crate) fn serve(mailbox: &Mailbox) {
    let mut operations = VecDeque::new();
    loop {
        let closed = mailbox.wait(&mut operations);
        if operations.is_empty() && closed {
            return;
        }
        let (writes, reads): (Vec<_>, Vec<_>) =
            operations.drain(..).partition(|operation| matches!(operation, Operation::Write { .. }));
        write_all(mailbox, writes);
        for read in reads {
            serve_read(mailbox, read);
        }
    }
}

fn write_all(mailbox: &Mailbox, writes: Vec<Operation>) {
    let mut dirty: Vec<Arc<RawFile>> = Vec::new();
    for operation in &writes {
        let Operation::Write { file, position, blocks, .. } = operation else {
            unreachable!("partitioned above")
        };
        if mailbox.failure().is_some() {
            break;
        }
        match file.file.write_all_at(blocks, *position) {
            Ok(()) if dirty.iter().any(|known| Arc::ptr_eq(known, file)) => {}
            Ok(()) => dirty.push(file.clone()),
            Err(error) => die(mailbox, file, &operation.describe(), &error),
        }
    }
    for file in dirty {
        if mailbox.failure().is_none()
            && let Err(error) = file.file.sync_data()
        {
            die(mailbox, &file, "fdatasync", &error);
        }
    }
    let result = mailbox.failure().map_or(Ok(()), |failure| Err(DiskError::Dead(failure.clone())));
    for operation in writes {
        if let Operation::Write { reply, .. } = operation {
            // Who asked may be gone.
            let _ = reply.send(result.clone());
        }
    }
}

fn die(mailbox: &Mailbox, file: &RawFile, operation: &str, error: &io::Error) {
    mailbox.fail(DeviceFailure::new(&file.path, operation, error.to_string()));
}

fn serve_read(mailbox: &Mailbox, operation: Operation) {
    if let Some(failure) = mailbox.failure() {
        return operation.refuse(failure.clone().into());
    }
    let what = operation.describe();
    let Operation::Read { file, position, mut buffer, reply } = operation else {
        unreachable!("partitioned above")
    };
    let result = match file.file.read_exact_at(&mut buffer, position) {
        Ok(()) => Ok(buffer),
        Err(error) => Err(DiskError::io(&file.path, what, &error)),
    };
    // Who asked may be gone.
    let _ = reply.send(result);
}
