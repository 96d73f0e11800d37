use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long a filesystem may stay busy after its user has ended.
const BUSY_LIMIT: Duration = Duration::from_secs(30);
/// How often that is looked at.
const BUSY_LOOK: Duration = Duration::from_millis(50);

/// A filesystem of its own: ext4 on a loop device, so that it can be full.
#[derive(Debug)]
pub struct SmallDisk {
    layer: Layer,
    _dir: TempDir,
}

impl SmallDisk {
    /// Makes and mounts one; it goes when it is dropped.
    ///
    /// # Errors
    /// Without root or loop devices.
    pub fn mount(bytes: u64) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut layer = Layer::create(dir.path(), "small", bytes)?;
        layer.mount()?;
        Ok(Self { layer, _dir: dir })
    }

    /// Mounts an image that has a filesystem. The image stays.
    ///
    /// # Errors
    /// Without root or loop devices, or if there is no ext4 in it.
    pub fn mount_image(image: &Path) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mounted = dir.path().join("mounted");
        fs::create_dir(&mounted).map_err(|error| error.to_string())?;
        let mut layer = Layer::of(image.to_owned(), mounted);
        layer.mount()?;
        Ok(Self { layer, _dir: dir })
    }

    /// Makes an ext4 in an image.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn format(image: &Path) -> Result<(), String> {
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-b", "4096"]).arg(image)).map(drop)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.layer.mounted
    }

    /// Its block device, as `major:minor`.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn device(&self) -> String {
        let device = self.layer.device.as_deref().expect("it is mounted");
        let name = device.file_name().expect("a device has a name");
        let number = fs::read_to_string(Path::new("/sys/block").join(name).join("dev"));
        number.expect("the kernel tells it").trim().to_owned()
    }

    /// Fills it up to the last block.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn fill(&self) {
        fill(&filler(self.path()), 0);
    }

    /// Takes the filler away again.
    ///
    /// # Panics
    /// If it is not there.
    pub fn free(&self) {
        fs::remove_file(filler(self.path())).expect("it was filled");
    }
}

/// What of a failing disk fails, with the error that the kernel gives when a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Writes.
    Writes,
    /// Writes succeed into the device's cache; that it is made durable fails.
    Syncs,
}

/// A disk that can be made to fail, without help of the device mapper: ext4 on a loop device, whose image lies on a
/// filesystem that has no room for blocks that were never written.
///
/// ```text
///   Writes:  ext4 ─ loop ─ sparse image ─ full tmpfs                              a write needs a page that is not to be had
///   Syncs:   ext4 ─ loop ─ sparse image ─ ext4 ─ loop ─ sparse image ─ full tmpfs    the page cache between takes the write
/// ```
///
/// The loop driver (of Linux 6.15 and later) calls a write done of which the image took only a part. So that the device fails and
/// does not lie, each of its requests is one page, which is taken or not.
#[derive(Debug)]
pub struct FailingDisk {
    /// From the lowest.
    layers: Vec<Layer>,
    base: PathBuf,
    _dir: TempDir,
}

const MIB: u64 = 1 << 20;

impl FailingDisk {
    /// Makes and mounts one with room for `bytes`, healthy at first.
    ///
    /// # Errors
    /// Without root or loop devices.
    pub fn mount(failing: Failing, bytes: u64) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let base = dir.path().join("base");
        fs::create_dir(&base).map_err(|error| error.to_string())?;
        let size = format!("size={}", bytes + 64 * MIB);
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&base))?;
        let mut disk = Self { layers: Vec::new(), base: base.clone(), _dir: dir };
        let sizes = match failing {
            Failing::Writes => vec![bytes],
            Failing::Syncs => vec![bytes + 32 * MIB, bytes],
        };
        let mut below = base;
        for (name, size) in ["lower", "upper"].into_iter().zip(sizes) {
            let mut layer = Layer::create(&below, name, size)?;
            layer.mount()?;
            layer.write_by_page()?;
            below = layer.mounted.clone();
            disk.layers.push(layer);
        }
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.layers.last().expect("at least one").mounted
    }

    /// From now on what was zero so far cannot be written, but for about `spare` bytes. Nobody may write meanwhile.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn break_down(&self, spare: u64) {
        for layer in self.layers.iter().rev() {
            run(&mut Command::new("sync")).expect("sync");
            run(Command::new("fallocate").arg("--dig-holes").arg(&layer.image)).expect("holes are dug");
        }
        fill(&filler(&self.base), spare);
    }

    /// A healthy disk again, after a restart of the machine: what was only in caches is gone.
    ///
    /// # Panics
    /// If that is not possible.
    pub async fn mend(&mut self) {
        for layer in self.layers.iter_mut().rev() {
            layer.unmount().await.expect("nobody uses it");
        }
        fs::remove_file(filler(&self.base)).expect("it was broken");
        for layer in &mut self.layers {
            // What a journal must not replay after an error is mended, as at a boot.
            let checked = Command::new("e2fsck").arg("-fy").arg(&layer.image).output();
            assert!(
                checked.is_ok_and(|output| output.status.code() < Some(4)),
                "the filesystem can be mended"
            );
            layer.mount().expect("it was mounted before");
        }
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        while self.layers.pop().is_some() {}
        let _ = run(Command::new("umount").arg("-l").arg(&self.base));
    }
}

/// An ext4 in an image file.
#[derive(Debug)]
struct Layer {
    image: PathBuf,
    mounted: PathBuf,
    device: Option<PathBuf>,
    /// The limit of the device's requests that was changed, and what it was: the next user of the device finds it so.
    usual_limit: Option<(PathBuf, String)>,
}

impl Layer {
    fn of(image: PathBuf, mounted: PathBuf) -> Self {
        Self { image, mounted, device: None, usual_limit: None }
    }

    fn create(dir: &Path, name: &str, bytes: u64) -> Result<Self, String> {
        let layer = Self::of(dir.join(format!("{name}.image")), dir.join(name));
        let made = fs::File::create(&layer.image).and_then(|file| file.set_len(bytes));
        made.and_then(|()| fs::create_dir(&layer.mounted)).map_err(|error| error.to_string())?;
        SmallDisk::format(&layer.image)?;
        Ok(layer)
    }

    fn mount(&mut self) -> Result<(), String> {
        let device = run(Command::new("losetup").args(["--find", "--show"]).arg(&self.image))?;
        let device = PathBuf::from(device.trim());
        self.device = Some(device.clone());
        run(Command::new("mount").arg(&device).arg(&self.mounted)).map(drop)
    }

    /// No request of the device is larger than a page.
    fn write_by_page(&mut self) -> Result<(), String> {
        const PAGE_KIB: &str = "4";
        let name = self.device.as_deref().and_then(Path::file_name).expect("it is mounted");
        let limit = Path::new("/sys/block").join(name).join("queue/max_sectors_kb");
        let usual = fs::read_to_string(&limit).and_then(|usual| fs::write(&limit, PAGE_KIB).map(|()| usual));
        let usual = usual.map_err(|error| format!("{}: {error}", limit.display()))?;
        self.usual_limit = Some((limit, usual));
        Ok(())
    }

    /// The loop device above may be let go of a moment after it was detached: whoever looks at devices has it open.
    async fn unmount(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            match run(Command::new("umount").arg(&self.mounted)) {
                Ok(_) => return self.detach(),
                Err(error) if start.elapsed() > BUSY_LIMIT => return Err(error),
                Err(_) => sleep(BUSY_LOOK).await,
            }
        }
    }

    fn detach(&mut self) -> Result<(), String> {
        if let Some((limit, usual)) = self.usual_limit.take() {
            fs::write(&limit, usual).map_err(|error| format!("{}: {error}", limit.display()))?;
        }
        match self.device.take() {
            Some(device) => run(Command::new("losetup").arg("--detach").arg(device)).map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        if self.device.is_some() {
            let _ = run(Command::new("umount").arg("-l").arg(&self.mounted));
            let _ = self.detach();
        }
    }
}

fn filler(dir: &Path) -> PathBuf {
    dir.join("filler")
}

/// Fills a filesystem but for `spare` bytes.
fn fill(filler: &Path, spare: u64) {
    let mut file = fs::File::create(filler).expect("a file can be made");
    for piece in [1 << 20, 4 << 10] {
        let ones = vec![1; piece];
        while file.write_all(&ones).is_ok() {}
    }
    let _ = file.sync_all();
    let length = file.metadata().expect("it is open").len();
    file.set_len(length.saturating_sub(spare)).expect("a file can be cut");
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{command:?}: {text}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use aquifer_services::skip;

    use super::*;

    /// Several pages, and less than the driver's own limit of a request: each is one, unless requests are pages.
    const PIECE: usize = 128 << 10;
    const PIECES: u64 = 128;

    /// A disk that lies shows nothing about who trusted it.
    async fn what_it_acknowledges_is_there(failing: Failing) {
        let mut disk = match FailingDisk::mount(failing, 64 * MIB) {
            Ok(disk) => disk,
            Err(error) => return skip(&format!("a failing disk needs root and loop devices: {error}")),
        };
        let path = disk.path().join("file");
        fs::write(&path, vec![0; PIECE * PIECES as usize]).expect("it is healthy");
        disk.break_down(9 * MIB + 123_000);
        let file = fs::File::options().write(true).open(&path).expect("it is there");
        let write =
            |at: u64| file.write_all_at(&vec![7; PIECE], at * PIECE as u64).and_then(|()| file.sync_data());
        let acknowledged = (0..PIECES).take_while(|at| write(*at).is_ok()).count();
        assert!((1..PIECES as usize).contains(&acknowledged), "{acknowledged} pieces shows nothing");
        drop(file);
        disk.mend().await;
        let found = fs::read(&path).expect("it was mended");
        let there = found.iter().take_while(|byte| **byte == 7).count();
        assert!(there >= acknowledged * PIECE, "{there} bytes of {acknowledged} pieces are there");
    }

    #[tokio::test]
    async fn a_disk_whose_writes_fail_does_not_lie() {
        what_it_acknowledges_is_there(Failing::Writes).await;
    }

    #[tokio::test]
    async fn a_disk_whose_syncs_fail_does_not_lie() {
        what_it_acknowledges_is_there(Failing::Syncs).await;
    }
}
