use std::io;

use hdfs_native::HdfsError;

use crate::error::{ErrorKind, Failure};

/// Translates an error of the client. Java exceptions are told apart by their class, which is their kind.
pub(super) fn failure(error: &HdfsError) -> Failure {
    match error {
        HdfsError::FileNotFound(path) => Failure::none(ErrorKind::NotFound, path.clone()),
        HdfsError::BlocksNotFound(detail) => {
            Failure::none(ErrorKind::Unavailable, format!("no DataNode has a copy: {detail}"))
        }
        HdfsError::AlreadyExists(_) => Failure::none(ErrorKind::AlreadyExists, ""),
        HdfsError::RPCError(class, message) | HdfsError::FatalRPCError(class, message) => {
            java(class, message)
        }
        HdfsError::IOError(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                Failure::none(ErrorKind::Unavailable, "a NameNode or DataNode refuses connections")
            }
            io::ErrorKind::TimedOut => Failure::unknown(ErrorKind::Timeout, error.to_string()),
            _ => Failure::unknown(ErrorKind::Unavailable, error.to_string()),
        },
        HdfsError::SASLError(_) | HdfsError::GSSAPIError(..) | HdfsError::NoSASLMechanism => Failure::none(
            ErrorKind::Denied,
            // The remedy first: what GSSAPI says is long and may be cut.
            format!(
                "Kerberos needs store.hdfs.principal and store.hdfs.keytab, or a ticket cache whose ticket has not expired: {error}"
            ),
        ),
        HdfsError::InvalidPath(_)
        | HdfsError::InvalidArgument(_)
        | HdfsError::UrlParseError(_)
        | HdfsError::IsADirectoryError(_)
        | HdfsError::XmlParseError(_)
        | HdfsError::UnsupportedFeature(_)
        | HdfsError::UnsupportedErasureCodingPolicy(_) => {
            Failure::none(ErrorKind::Invalid, error.to_string())
        }
        _ => Failure::unknown(ErrorKind::Unavailable, error.to_string()),
    }
}

fn java(class: &str, message: &str) -> Failure {
    let name = class.rsplit('.').next().unwrap_or(class);
    let detail = format!("{name}: {message}");
    match name {
        "FileNotFoundException" => Failure::none(ErrorKind::NotFound, detail),
        "FileAlreadyExistsException" => Failure::none(ErrorKind::AlreadyExists, ""),
        "AccessControlException"
        | "AuthorizationException"
        | "SaslException"
        | "GSSException"
        | "InvalidToken" => Failure::none(ErrorKind::Denied, detail),
        "DSQuotaExceededException" | "NSQuotaExceededException" | "QuotaExceededException" => {
            Failure::none(ErrorKind::Full, detail)
        }
        // Refused before anything was done: a starting, standby or overloaded NameNode.
        "SafeModeException" | "StandbyException" | "RetriableException" => {
            Failure::none(ErrorKind::Unavailable, detail)
        }
        "ServerTooBusyException" | "CallQueueOverflowException" => {
            Failure::none(ErrorKind::Throttled, detail)
        }
        "ParentNotDirectoryException"
        | "InvalidPathException"
        | "HadoopIllegalArgumentException"
        | "PathIsNotDirectoryException"
        | "PathIsDirectoryException" => Failure::none(ErrorKind::Invalid, detail),
        _ => Failure::unknown(ErrorKind::Unavailable, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_exceptions_are_told_apart_by_class_and_lose_their_stack() {
        let stack = "Permission denied: user=x\n\tat org.apache.hadoop.Foo(Foo.java:1)".to_owned();
        let class = "org.apache.hadoop.security.AccessControlException".to_owned();
        let failure = failure(&HdfsError::RPCError(class, stack));
        assert_eq!(failure.kind, ErrorKind::Denied);
        assert_eq!(failure.detail, "AccessControlException: Permission denied: user=x");
    }
}
