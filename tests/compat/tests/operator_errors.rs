//! What goes wrong at an operator's site gives an error that says what, where, and what to do.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use aquifer_compat::{LIMIT, Node, Target, aquifer, run_script, script};
use aquifer_services::{Artifact, Minio, free_port, or_skip, skip};
use tempfile::TempDir;

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Starts a node that must refuse, and checks its last words.
async fn refuses(dir: &Path, settings: &[(&str, &str)], words: &[&str]) -> String {
    match Node::try_start(dir, settings).await {
        Ok(_) => panic!("the node starts with {settings:?}"),
        Err(failed) => {
            assert_ne!(failed.status.code(), Some(0), "{}", failed.output);
            assert_says(&failed.output, words);
            failed.output
        }
    }
}

fn assert_says(output: &str, words: &[&str]) {
    for word in words {
        assert!(output.contains(word), "'{word}' is not in:\n{output}");
    }
    assert!(!output.contains("panicked"), "{output}");
}

#[tokio::test]
async fn a_bad_option_names_option_value_and_remedy() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = temporary();
    let file = "node.properties";
    refuses(dir.path(), &[("num.partition", "3")], &["num.partition", "did you mean 'num.partitions'", file])
        .await;
    let value = [("store.offload.interval.ms", "soon")];
    refuses(dir.path(), &value, &["store.offload.interval.ms", "'soon'", "expected", file]).await;
    refuses(dir.path(), &[("wal.size", "1MiB")], &["wal.size", "1MiB", "expected"]).await;
    refuses(dir.path(), &[("store.url", "ftp://host/path")], &["ftp://host/path", "s3://"]).await;
    refuses(
        dir.path(),
        &[("process.roles", "zookeeper")],
        &["process.roles", "zookeeper", "broker,controller"],
    )
    .await;
    let alone = ["controller.quorum.bootstrap.servers", "a broker must know", "192.0.2.10:9093"];
    refuses(dir.path(), &[("process.roles", "broker")], &alone).await;
    let protocol = [("listeners", "SSL://127.0.0.1:9093")];
    refuses(dir.path(), &protocol, &["SSL", "PLAINTEXT"]).await;
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = temporary();
    let file = dir.path().join("node.properties");
    let check = |text: &str| {
        let below = |name: &str| dir.path().join(name).display().to_string();
        let whole = format!(
            "node.id=7\nstore.url=file://{}\nwal.dir={}\nmetadata.dir={}\n{text}\n",
            below("store"),
            below("wal"),
            below("metadata")
        );
        fs::write(&file, whole).expect("written");
        let output =
            Command::new(aquifer()).args(["check", "--config"]).arg(&file).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = check("log.dirs=/data");
    assert_eq!(code, Some(0), "{said}");
    assert_says(&said, &["log.dirs", "does nothing here", "the configuration of node 7 is sound"]);
    let (code, said) = check("num.partition=3");
    assert_eq!(code, Some(1), "{said}");
    assert_says(&said, &["num.partition", "did you mean 'num.partitions'"]);
    let (code, said) = check("num.partition=3\nwal.mode=mirrored\nnum.partitions=many\nwal.dir=");
    assert_eq!(code, Some(1), "{said}");
    assert_says(
        &said,
        &["4 things are wrong", "num.partition'", "'mirrored'", "'many'", "'wal.dir' is required"],
    );
    let names: Vec<_> =
        fs::read_dir(dir.path()).expect("a directory").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["node.properties"], "nothing is made");
}

#[tokio::test]
async fn without_io_uring_the_remedy_is_named_and_works() {
    if Target::chosen().is_kafka() {
        return;
    }
    let Some(python) = or_skip(Artifact::Python.find()) else { return };
    let without = script("without_io_uring.py");
    let wrapper = [python.to_str().expect("a path of letters"), without.to_str().expect("a path of letters")];
    let dir = temporary();
    let mut node = Node::prepare(dir.path(), &[]);
    node.start_through(&wrapper);
    let failed = node.try_start_again().await.expect_err("there is no io_uring");
    assert_says(&failed.output, &["io_uring is not available", "wal.io.engine=threads"]);

    let dir = temporary();
    let mut node = Node::prepare(dir.path(), &[("wal.io.engine", "threads")]);
    node.start_through(&wrapper);
    node.start_again().await;
    let write = ["write", &node.bootstrap(), "threads", "200", "1000"];
    run_script("fill.py", &write, "written", LIMIT).await.expect("Python is there");
    node.kill();
    node.start_again().await;
    let read = run_script("fill.py", &["read", &node.bootstrap(), "threads", "0"], "", LIMIT).await;
    assert_eq!(read.expect("it ran before"), ["read 200"]);
    node.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = temporary();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("it is bound").port();
    let address = format!("127.0.0.1:{port}");
    let listeners = format!("PLAINTEXT://{address}");
    refuses(dir.path(), &[("listeners", &listeners)], &[&address, "listeners", "use"]).await;
    refuses(dir.path(), &[("http.listen", &address)], &[&address, "http.listen", "use"]).await;
    assert!(!dir.path().join("wal").exists(), "a start that fails early leaves nothing behind");
}

#[tokio::test]
async fn a_store_of_another_cluster_is_refused() {
    if Target::chosen().is_kafka() {
        return;
    }
    let (first, second) = (temporary(), temporary());
    let mut node = Node::start(first.path(), &[]).await;
    let write = ["write", &node.bootstrap(), "mine", "10", "100"];
    if run_script("fill.py", &write, "written", LIMIT).await.is_none() {
        return;
    }
    node.stop().await;
    let url = format!("file://{}", first.path().join("store").display());
    refuses(second.path(), &[("store.url", &url)], &[&url, "cluster"]).await;
    let read = ["read", &node.bootstrap(), "mine", "0"];
    node.start_again().await;
    let read = run_script("fill.py", &read, "", LIMIT).await.expect("it ran before");
    assert_eq!(read, ["read 10"], "the owner is not disturbed");
    node.stop().await;
}

#[tokio::test]
async fn a_first_start_waits_for_its_store_and_says_so() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = temporary();
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let mut settings = vec![
        ("store.url", "s3://bucket"),
        ("store.s3.endpoint", endpoint.as_str()),
        ("store.s3.access.key", Minio::ACCESS_KEY),
        ("store.s3.secret.key", Minio::ACCESS_KEY),
        ("store.start.wait.ms", "8000"),
    ];
    let words = ["waiting for the object store", "store.start.wait.ms", "s3://bucket", "8s"];
    let said = refuses(dir.path(), &settings, &words).await;
    // Once, after five seconds and what the look took that was under way.
    let waits = said.lines().filter(|line| line.contains("waiting for the object store"));
    let waited: Vec<u32> =
        waits.filter_map(|line| line.split("waited_s=").nth(1)?.split(' ').next()?.parse().ok()).collect();
    assert!(matches!(waited[..], [5..8]), "{waited:?}:\n{said}");

    // What is definite is not waited for.
    let Some(minio) = or_skip(Minio::start().await) else { return };
    let endpoint = minio.endpoint();
    settings[1].1 = &endpoint;
    settings[4].1 = "86400000";
    refuses(temporary().path(), &settings, &["NoSuchBucket"]).await;
    minio.create_bucket("bucket");
    settings[3].1 = "wrong-secret";
    refuses(temporary().path(), &settings, &["access denied"]).await;
}

#[tokio::test]
async fn metadata_of_another_cluster_is_refused() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = temporary();
    let mut node = Node::start(dir.path(), &[]).await;
    node.stop().await;
    let other = "AquiferOtherCluster00A";
    refuses(dir.path(), &[("cluster.id", other)], &[other, "cluster"]).await;
}

#[tokio::test]
async fn a_wal_frame_damaged_in_the_middle_is_told_with_its_place() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = temporary();
    let settings = [("store.offload.interval.ms", "3600000"), ("wal.size", "64MiB")];
    let mut node = Node::start(dir.path(), &settings).await;
    let write = ["write-marked", &node.bootstrap(), "marked", "20"];
    if run_script("fill.py", &write, "written", LIMIT).await.is_none() {
        return;
    }
    node.kill();
    let path = damage(&dir.path().join("wal"), b"MARKED-0007-");
    let failed = node.try_start_again().await.expect_err("the WAL is damaged");
    assert_ne!(failed.status.code(), Some(0));
    assert_says(&failed.output, &[&path.display().to_string(), "damaged", "frame"]);
}

/// Inverts one byte where `marker` stands in one of the files of a directory.
fn damage(dir: &Path, marker: &[u8]) -> PathBuf {
    for path in files(dir) {
        let bytes = fs::read(&path).expect("the WAL can be read");
        if let Some(position) = bytes.windows(marker.len()).position(|window| window == marker) {
            let file = fs::File::options().write(true).open(&path).expect("the WAL can be opened");
            file.write_all_at(&[bytes[position] ^ 0xff], position as u64).expect("the WAL can be written");
            file.sync_all().expect("the WAL can be synced");
            return path;
        }
    }
    panic!("no file of {} has the marker", dir.display());
}

#[tokio::test]
async fn a_truncated_object_fails_its_readers_only_and_is_named() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = temporary();
    let mut node = Node::start(dir.path(), &[]).await;
    let bootstrap = node.bootstrap();
    let write = ["write", &bootstrap, "hurt", "1000", "2000"];
    if run_script("fill.py", &write, "written", LIMIT).await.is_none() {
        return;
    }
    node.stop().await;
    let store = dir.path().join("store");
    let hurt: BTreeSet<PathBuf> = files(&store).into_iter().filter(|path| size(path) > 100_000).collect();
    assert!(!hurt.is_empty(), "the records are in objects");
    node.start_again().await;
    let write = ["write", &bootstrap, "sound", "1000", "2000"];
    run_script("fill.py", &write, "written", LIMIT).await.expect("it ran before");
    node.stop().await;
    node.start_again().await;
    for path in &hurt {
        let file = fs::File::options().write(true).open(path).expect("the object can be opened");
        file.set_len(size(path) / 2).expect("the object can be truncated");
    }
    let hurt_read = run_script("fill.py", &["read", &bootstrap, "hurt", "0"], "", LIMIT).await;
    let sound_read = run_script("fill.py", &["read", &bootstrap, "sound", "0"], "", LIMIT).await;
    assert!(hurt_read.expect("it ran before")[0].starts_with("error"), "a consumer is told");
    assert_eq!(sound_read.expect("it ran before"), ["read 1000"], "other partitions go on");
    let log = node.log();
    let named = hurt.iter().filter_map(|path| path.file_name()?.to_str()).any(|name| log.contains(name));
    assert!(named, "none of {hurt:?} is named in:\n{log}");
    node.stop().await;
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("the directory can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).expect("the file is there").len()
}

/// A small ext4 of its own on a loop device.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Result<Self, String> {
        let dir = temporary();
        let image = dir.path().join("image");
        let mounted = dir.path().join("mounted");
        let file = fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(40 << 20).map_err(|error| error.to_string())?;
        fs::create_dir(&mounted).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted))?;
        Ok(Self(dir))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("mounted")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("{command:?}: {text}"))
}

#[tokio::test]
async fn a_full_disk_at_start_is_told_with_its_directory() {
    if Target::chosen().is_kafka() {
        return;
    }
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(error) => return skip(&format!("a small disk needs root and loop devices: {error}")),
    };
    let dir = temporary();
    let wal = disk.path().join("wal").display().to_string();
    let settings = [("wal.dir", wal.as_str()), ("wal.size", "256MiB")];
    let said = refuses(dir.path(), &settings, &[&wal, "wal.dir", "wal.size", "free", "lower wal.size"]).await;
    assert_says(&said, &[&(256 << 20).to_string()]);
    // 40 MiB less what ext4 takes for itself: more than 20 and less than 40 million bytes are free.
    let free = said.split("the filesystem has ").nth(1).and_then(|rest| rest.split(' ').next());
    let free: u64 = free.and_then(|number| number.parse().ok()).expect("the free bytes are told");
    assert!((20_000_000..40 << 20).contains(&free), "{said}");
    let needed = said.split("the WAL needs ").nth(1).and_then(|rest| rest.split(' ').next());
    let needed: u64 = needed.and_then(|number| number.parse().ok()).expect("the needed bytes are told");
    assert!((200 << 20..=256 << 20).contains(&needed), "{said}");
    fs::write(disk.path().join("filler"), vec![0; 64 << 20]).expect_err("the disk is full now");
    let metadata = disk.path().join("metadata").display().to_string();
    refuses(dir.path(), &[("metadata.dir", &metadata)], &[&metadata, "space"]).await;
}
