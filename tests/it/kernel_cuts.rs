//! Power cuts of a real kernel: the desk runs in a virtual machine, on ext4, on a drive with a
//! volatile cache. Stripe is outside and keeps the record of what was answered 200.
//!
//! The machine is emulated in software, so no privilege is needed. What it did to its drive is
//! recorded (`drive.rs`), and power is cut anywhere in the recording. The file system's journal is
//! replayed by e2fsck or, where the next machine starts on the remains, by the kernel itself.
//! They need `tests/setup kernel`, and `tests/proof kernel-cuts` runs them.

use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::drive::{Drive, Flush, Recording};
use crate::outside::{free_address, installed, machine_program};
use crate::powercuts::try_remains;
use crate::proof;
use crate::shop::{Purchase, SECRET, Shop, post_signed, seeds};

/// Purchases of a recorded run, two events each.
const PURCHASES: usize = 60;

/// Machines that follow each other, each on what the one before left; so often power is cut in the
/// recording of each.
const MACHINES: usize = 2;
const CUTS: usize = 5;

/// So long an emulated machine may take to serve, on a computer that has other work.
const BOOT: Duration = Duration::from_secs(600);

/// The kernel's modules for the drive and the network, in the order in which they need each other.
const MODULES: [&str; 9] = [
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
];

/// What the first process of the machine does; `cmdline` has its settings.
const INIT: &str = r#"#!/bin/busybox sh
for applet in mount insmod ip cat; do /bin/busybox ln -s busybox /bin/$applet; done
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in /modules/*; do insmod $module; done
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
mount -t ext4 /dev/vda /srv || echo the file system cannot be mounted
set -a
. /settings
fulfilld serve
echo fulfilld ended with $?
/bin/busybox poweroff -f
"#;

/// What a number of power cuts came to.
#[derive(Default)]
struct Tally {
    cuts: usize,
    acknowledged: usize,
    faults: Vec<String>,
}

impl Tally {
    /// Cuts that lost what was acknowledged, and cuts that made an order twice.
    fn lost_and_doubled(&self) -> (usize, usize) {
        let with = |word| self.faults.iter().filter(|fault| fault.contains(word)).count();
        (with("acknowledged"), with("orders"))
    }
}

/// What one machine did, and what Stripe knows of it.
struct Run {
    recording: Recording,
    /// Events that were answered 200, and how many commands the drive had by then.
    acknowledged: Vec<(String, usize)>,
}

/// `FULFILLD_TEST_KERNEL_CUTS` runs more than one chain of machines.
#[test]
#[ignore = "needs qemu and a kernel: tests/setup kernel"]
fn power_cuts_of_a_real_kernel_lose_no_acknowledged_event_and_double_no_order() {
    let mut tally = Tally::default();
    for seed in seeds("FULFILLD_TEST_KERNEL_CUTS", 1) {
        try_machines(seed, MACHINES, None, Flush::Obeyed, &mut tally);
        let (lost, doubled) = tally.lost_and_doubled();
        proof::so_far(format!("{} cuts", tally.cuts), tally.acknowledged, lost, doubled);
    }
    let (lost, doubled) = tally.lost_and_doubled();
    proof::came_to(format!("{} cuts", tally.cuts), tally.acknowledged, lost, doubled);
    assert_eq!(tally.faults, [""; 0]);
}

/// The control: without an fsync before each 200 the same cuts lose events.
#[test]
#[ignore = "needs qemu and a kernel: tests/setup kernel"]
fn control_kernel_cuts_catch_a_desk_that_does_not_sync() {
    caught(Some("synchronous_normal"), Flush::Obeyed, "synchronous_normal");
}

/// The control: so they do on a drive that says that it has flushed and has not.
#[test]
#[ignore = "needs qemu and a kernel: tests/setup kernel"]
fn control_kernel_cuts_catch_a_drive_that_does_not_flush() {
    caught(None, Flush::Ignored, "flush_ignored");
}

fn caught(planted: Option<&str>, flush: Flush, name: &str) {
    for seed in seeds("", 5) {
        let mut tally = Tally::default();
        try_machines(seed, 1, planted, flush, &mut tally);
        if let Some(fault) = tally.faults.first() {
            return proof::caught(name, fault);
        }
    }
    panic!("twenty-five power cuts did not show {name}");
}

/// Machines on one drive, each on what a power cut left of it after the one before.
fn try_machines(seed: u64, n: usize, planted: Option<&str>, flush: Flush, tally: &mut Tally) {
    let mut random = Rng::with_seed(seed);
    let mut shop = Shop::open();
    shop.stop();
    let tools = tempfile::tempdir().expect("a directory for the machine");
    let mut image = formatted(shop.dir.path(), tools.path());
    let mut purchases = Vec::new();
    // What earlier machines acknowledged before the cut that ended them.
    let mut before: HashSet<String> = HashSet::new();
    for machine in 0..n {
        let bought = shop.buy("card", PURCHASES, "both");
        let run = record(&shop, image, planted, tools.path(), &bought);
        purchases.extend(bought);
        let first = run.acknowledged.first().expect("something was acknowledged").1;
        image = Vec::new();
        for cut in 0..CUTS {
            let at = random.usize(first..=run.recording.len());
            let (remains, how) = run.recording.cut(at, flush, &mut random);
            let mut promised = before.clone();
            promised.extend(
                run.acknowledged.iter().filter(|(_, end)| *end <= at).map(|(id, _)| id.clone()),
            );
            tally.cuts += 1;
            tally.acknowledged += promised.len();
            if let Err(fault) = try_drive(&mut shop, &remains, tools.path(), &purchases, &promised)
            {
                tally.faults.push(format!(
                    "seed {seed}, machine {machine}, cut {cut} after command {at} of {}, {how}: \
                     {fault}",
                    run.recording.len()
                ));
            }
            if cut == CUTS - 1 {
                (image, before) = (remains, promised);
            }
        }
    }
}

/// A drive whose ext4 has what is in the directory.
fn formatted(files: &Path, tools: &Path) -> Vec<u8> {
    let image = tools.join("formatted");
    let made = ext4("mkfs.ext4")
        .args(["-q", "-F", "-d"])
        .args([files, &image])
        .arg("64M")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(made.is_ok_and(|status| status.success()), "a file system can be made");
    std::fs::read(image).expect("it was made")
}

/// A program of e2fsprogs, which are not in everybody's PATH.
fn ext4(name: &str) -> Command {
    let at = ["/usr/sbin", "/sbin"].map(|dir| Path::new(dir).join(name));
    Command::new(at.iter().find(|path| path.exists()).map_or(Path::new(name), PathBuf::as_path))
}

/// Starts a machine on the drive, posts all events to its desk, and cuts its power.
fn record(
    shop: &Shop,
    image: Vec<u8>,
    planted: Option<&str>,
    tools: &Path,
    bought: &[Purchase],
) -> Run {
    let drive = Drive::new(image, tools);
    let machine = Machine::boot(shop, &drive, planted, tools);
    let bodies = bought.iter().flat_map(|p| &p.events).map(|(id, _)| (id.clone(), shop.body(id)));
    let queue: Mutex<VecDeque<(String, Vec<u8>)>> = Mutex::new(bodies.collect());
    let acknowledged = Mutex::new(Vec::new());
    let deadline = Instant::now() + BOOT;
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic").pop_front();
                    let Some((id, body)) = next else { return };
                    match post_signed(&machine.url, &body, SECRET) {
                        Ok((200, _)) => {
                            let commands = drive.commands();
                            acknowledged.lock().expect("no panic").push((id, commands));
                        }
                        // Stripe sends it again.
                        other => {
                            assert!(Instant::now() < deadline, "{other:?}: {}", machine.said());
                            queue.lock().expect("no panic").push_back((id, body));
                        }
                    }
                }
            });
        }
    });
    drop(machine);
    let mut acknowledged = acknowledged.into_inner().expect("no panic");
    acknowledged.sort_by_key(|(_, commands)| *commands);
    Run { recording: drive.recording(), acknowledged }
}

/// What is on the drive after a power cut, as a desk finds it: the file system is repaired as at
/// the start of a machine, and the desk starts on its files.
fn try_drive(
    shop: &mut Shop,
    remains: &[u8],
    tools: &Path,
    purchases: &[Purchase],
    promised: &HashSet<String>,
) -> Result<(), String> {
    let image = tools.join("remains");
    std::fs::write(&image, remains).map_err(|e| e.to_string())?;
    // 1: it has repaired something.
    let repaired = ext4("e2fsck").args(["-f", "-y"]).arg(&image).output().expect("e2fsprogs");
    if !matches!(repaired.status.code(), Some(0 | 1)) {
        let said = String::from_utf8_lossy(&repaired.stdout).into_owned();
        return Err(format!("the file system cannot be repaired: {said}"));
    }
    shop.dir = tempfile::tempdir().expect("a directory for the remains");
    let read = ext4("debugfs")
        .args(["-R", &format!("rdump / {}", shop.dir.path().display())])
        .arg(&image)
        .output()
        .expect("e2fsprogs");
    assert!(read.status.success(), "the files can be read");
    let promised = promised.iter().map(String::as_str).collect();
    try_remains(shop, purchases, &promised)
}

/// A virtual machine whose only service is the desk. It loses its power when it is dropped.
struct Machine {
    qemu: Child,
    console: PathBuf,
    /// Where its desk is, seen from here.
    url: String,
}

impl Machine {
    fn boot(shop: &Shop, drive: &Drive, planted: Option<&str>, tools: &Path) -> Machine {
        let boot = installed(".tools/kernel/boot");
        let kernel = std::fs::read_dir(boot).expect("it was unpacked").flatten();
        let kernel = kernel.map(|entry| entry.path());
        let kernel = kernel
            .into_iter()
            .find(|path| path.display().to_string().contains("vmlinuz-"))
            .expect("tests/setup kernel unpacks a kernel");
        let files = tools.join("initramfs");
        std::fs::write(&files, initramfs(&settings(shop, planted))).expect("it can be written");
        let console = tools.join("console");
        let port = free_address().port();
        let qemu = machine_program("qemu-system-x86_64")
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(["-accel", "tcg", "-smp", "1", "-m", "384"])
            .args(["-serial", &format!("file:{}", console.display())])
            .args([Path::new("-kernel"), &kernel, Path::new("-initrd"), &files])
            // An emulated timer is too late for the kernel's test of it on a busy computer.
            .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check noapic mitigations=off"])
            .args(["-drive", &format!("file={},format=raw,if=virtio", drive.url())])
            .args(["-nic", &format!("user,model=virtio,hostfwd=tcp:127.0.0.1:{port}-:4242")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("qemu starts");
        let url = format!("http://127.0.0.1:{port}");
        let mut machine = Machine { qemu, console, url };
        let deadline = Instant::now() + BOOT;
        while !machine.said().contains("listens on") {
            let ended = machine.qemu.try_wait().expect("it is ours");
            assert!(ended.is_none() && Instant::now() < deadline, "{}", machine.said());
            std::thread::sleep(Duration::from_millis(100));
        }
        machine
    }

    /// What is on its console.
    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The desk's settings, as the machine's shell reads them.
fn settings(shop: &Shop, planted: Option<&str>) -> String {
    let mut settings = String::new();
    for (name, value) in shop.serve().get_envs() {
        if let Some(value) = value {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            settings += &format!("{name}='{value}'\n");
        }
    }
    settings += "FULFILLD_DB=/srv/shop.db\nFULFILLD_LISTEN=0.0.0.0:4242\n";
    settings += "FULFILLD_ALLOW_PUBLIC_LISTEN=1\n";
    // This computer, as the machine sees it.
    settings += &format!("FULFILLD_STRIPE_API=http://10.0.2.2:{}\n", shop.stripe.port());
    if let Some(bug) = planted {
        settings += &format!("FULFILLD_SABOTAGE={bug}\n");
    }
    settings
}

/// The machine's files beside the drive, as a kernel takes them (`cpio`, format newc).
fn initramfs(settings: &str) -> Vec<u8> {
    let read = |path: &Path| {
        std::fs::read(path)
            .unwrap_or_else(|e| panic!("{}: {e}; tests/setup kernel", path.display()))
    };
    let mut files: Vec<(String, u32, Vec<u8>)> = Vec::new();
    let mut file = |name: &str, bytes: Vec<u8>| files.push((name.into(), 0o100_755, bytes));
    file("init", INIT.into());
    file("settings", settings.into());
    file("bin/busybox", read(Path::new("/bin/busybox")));
    file("bin/fulfilld", read(Path::new(env!("CARGO_BIN_EXE_fulfilld"))));
    for library in libraries(Path::new(env!("CARGO_BIN_EXE_fulfilld"))) {
        file(library.trim_start_matches('/'), read(Path::new(&library)));
    }
    let versions = installed(".tools/kernel/lib/modules");
    let version = std::fs::read_dir(versions).expect("it was unpacked").flatten().next();
    let modules = version.expect("one version").path().join("kernel");
    for (n, module) in MODULES.iter().enumerate() {
        file(&format!("modules/{n}"), read(&modules.join(module)));
    }
    let mut directories: Vec<String> = ["proc", "sys", "dev", "srv", "tmp"].map(Into::into).into();
    for (name, ..) in &files {
        let parts: Vec<&str> = name.split('/').collect();
        directories.extend((1..parts.len()).map(|n| parts[..n].join("/")));
    }
    directories.sort();
    directories.dedup();
    let directories = directories.into_iter().map(|name| (name, 0o040_755, Vec::new()));
    let end = ("TRAILER!!!".to_string(), 0, Vec::new());
    let mut archive = Vec::new();
    for (inode, (name, mode, bytes)) in directories.chain(files).chain([end]).enumerate() {
        let inode = inode as u32 + 1;
        let (size, name_size) = (bytes.len() as u32, name.len() as u32 + 1);
        // Magic, inode, mode, user, group, links, time, size, four numbers of devices, the name's
        // size, no checksum.
        let head = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        archive.extend(b"070701");
        head.iter().for_each(|n| write!(archive, "{n:08X}").expect("memory takes it"));
        archive.extend(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(bytes);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// The libraries that a program needs, and what loads them.
fn libraries(program: &Path) -> Vec<String> {
    let out = Command::new("ldd").arg(program).output().expect("every glibc has it");
    let out = String::from_utf8_lossy(&out.stdout).into_owned();
    out.split_whitespace().filter(|word| word.starts_with('/')).map(Into::into).collect()
}
