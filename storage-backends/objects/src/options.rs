use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How a store is reached and used. What the URL already says is not repeated here.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Time limit of one attempt, before [`Self::slowest_bytes_per_second`] is added for what it carries.
    pub time_limit: Duration,
    /// A transfer slower than this is given up: an attempt that carries `n` bytes has `time_limit` plus
    /// `n` divided by this.
    pub slowest_bytes_per_second: u64,
    /// When to stop trying again.
    pub retry: RetryLimits,
    /// Bytes of uploads on their way at once; more wait. Requests are not counted: sixteen puts of
    /// 16 MiB need 200 MB, sixteen of 1 KiB nothing.
    pub upload_bytes_in_flight: usize,
    /// Bytes of reads on their way at once; more wait.
    pub download_bytes_in_flight: usize,
    /// Size of one part of a streaming upload. S3 demands at least 5 MiB and at most 10 000 parts.
    pub part_bytes: usize,
    /// For `s3://`.
    pub s3: S3Options,
    /// For `hdfs://`.
    pub hdfs: HdfsOptions,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            time_limit: Duration::from_secs(15),
            slowest_bytes_per_second: 4 << 20,
            retry: RetryLimits::default(),
            upload_bytes_in_flight: 128 << 20,
            download_bytes_in_flight: 128 << 20,
            part_bytes: 8 << 20,
            s3: S3Options::default(),
            hdfs: HdfsOptions::default(),
        }
    }
}

/// When a call that failed for a passing reason is given up.
#[derive(Clone, Copy, Debug)]
pub struct RetryLimits {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// No new attempt starts later than this after the first one started.
    pub within: Duration,
    /// The wait before the second attempt; it doubles from there, and each wait is a random part of it.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Default for RetryLimits {
    fn default() -> Self {
        Self {
            // With one of three DataNodes dead and not yet known to be, a third to two thirds of all new
            // files fail: ten attempts leave a chance below one in fifty.
            attempts: 10,
            within: Duration::from_secs(90),
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(5),
        }
    }
}

/// An S3 service: MinIO, or whatever speaks S3.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// `http://host:port` or `https://host:port`. None: Amazon's own, by region.
    pub endpoint: Option<String>,
    /// The region; most private stores do not care.
    pub region: String,
    /// The access key; if None, the environment's `AWS_ACCESS_KEY_ID`.
    pub access_key: Option<String>,
    /// The secret key; if None, the environment's `AWS_SECRET_ACCESS_KEY`.
    pub secret_key: Option<Secret>,
    /// `endpoint/bucket/key` (true, what private stores want) or `bucket.endpoint/key`.
    pub path_style: bool,
    /// PEM file with the private CA that signed the endpoint's certificate; trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Do not sign the payload's SHA-256. It is three quarters of a put's CPU; with https, and with our
    /// own checksums inside the objects, little is lost.
    pub unsigned_payload: bool,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: "us-east-1".to_owned(),
            access_key: None,
            secret_key: None,
            path_style: true,
            ca_file: None,
            unsigned_payload: false,
        }
    }
}

/// An HDFS cluster.
#[derive(Clone, Debug, Default)]
pub struct HdfsOptions {
    /// Directory with `core-site.xml` and `hdfs-site.xml`; if None, the environment's `HADOOP_CONF_DIR`.
    pub config_dir: Option<PathBuf>,
    /// `host:port` of each NameNode of an HA name service that no configuration file describes. Empty:
    /// the URL names a NameNode, or a name service of the configuration files.
    pub namenodes: Vec<String>,
    /// Hadoop client settings that win over the files, such as `dfs.client.use.datanode.hostname`.
    pub settings: Vec<(String, String)>,
    /// Copies of each block; None: the cluster's default.
    pub replication: Option<u32>,
    /// Fewest copies with which an object may be written while DataNodes fail; the full number is asked
    /// for right after. None: one.
    pub least_replication: Option<u32>,
    /// Block size of new files; None: the smallest that holds the object in one block, so that each
    /// object asks the NameNode once. For streaming uploads, whose size is not known: 1 GiB.
    pub block_size: Option<u64>,
    /// The user's name without Kerberos; None: the environment's `HADOOP_USER_NAME`, or the process's user.
    pub user: Option<String>,
    /// Kerberos principal, with [`Self::keytab`] or [`Self::ticket_cache`].
    pub principal: Option<String>,
    /// Kerberos keytab; logs in again by itself, so prefer it to a ticket cache.
    pub keytab: Option<PathBuf>,
    /// Kerberos ticket cache, such as `FILE:/run/krb5/cc`; every call fails once its ticket has expired.
    pub ticket_cache: Option<String>,
}

/// A text that does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
