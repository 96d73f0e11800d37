use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

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
        let mut layer = Layer { image: image.to_owned(), mounted, device: None };
        layer.mount()?;
        Ok(Self { layer, _dir: dir })
    }

    /// Makes an ext4 in an image.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn format(image: &Path) -> Result<(), String> {
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image)).map(drop)
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
    pub fn mend(&mut self) {
        for layer in self.layers.iter_mut().rev() {
            layer.unmount().expect("nobody uses it");
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
}

impl Layer {
    fn create(dir: &Path, name: &str, bytes: u64) -> Result<Self, String> {
        let layer = Self { image: dir.join(format!("{name}.image")), mounted: dir.join(name), device: None };
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

    fn unmount(&mut self) -> Result<(), String> {
        let unmounted = run(Command::new("umount").arg(&self.mounted));
        if let Some(device) = self.device.take() {
            run(Command::new("losetup").arg("--detach").arg(device))?;
        }
        unmounted.map(drop)
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        if let Some(device) = &self.device {
            let _ = run(Command::new("umount").arg("-l").arg(&self.mounted));
            let _ = run(Command::new("losetup").arg("--detach").arg(device));
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
