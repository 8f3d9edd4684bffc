//! The image of the pod sandbox's first process, made here: there may be no registry to fetch one
//! from.
//!
//! The program waits for signals, reaps orphans, and ends on SIGINT or SIGTERM. It is a few dozen
//! instructions in a hand-laid ELF file, smaller than the headers of a compiled one, and holds no
//! memory but its stack. It allows itself no other system call than those three of its loop, so that
//! the runtime need not compile a profile of hundreds for it (a tenth of a pod's start). Not here: handing the image to containerd ([`super::api`]).

use sha2::{Digest, Sha256};

/// The name under which sandboxes ask for the image.
pub const IMAGE: &str = "isopod.local/pause:2";

/// ```text
/// _start: lea  rsi, [rip+set]       ; rt_sigprocmask(SIG_BLOCK, &set, 0, 8)
///         xor  edi, edi
///         xor  edx, edx
///         mov  r10d, 8
///         mov  eax, 14
///         syscall
///         lea  rax, [rip+filter]    ; struct sock_fprog on the stack
///         push rax
///         push 8
///         mov  edi, 38              ; prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
///         mov  esi, 1
///         xor  edx, edx
///         xor  r10d, r10d
///         xor  r8d, r8d
///         mov  eax, 157
///         syscall
///         mov  edi, 22              ; prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, rsp)
///         mov  esi, 2
///         mov  rdx, rsp
///         mov  eax, 157
///         syscall
///         nop
/// wait:   lea  rdi, [rip+set]       ; rt_sigtimedwait(&set, 0, 0, 8)
///         xor  esi, esi
///         xor  edx, edx
///         mov  r10d, 8
///         mov  eax, 128
///         syscall
///         cmp  eax, 17              ; SIGCHLD
///         je   reap
///         cmp  eax, 2               ; SIGINT
///         je   exit
///         cmp  eax, 15              ; SIGTERM
///         je   exit
///         jmp  wait
/// reap:   mov  edi, -1              ; wait4(-1, 0, WNOHANG, 0)
///         xor  esi, esi
///         mov  edx, 1
///         xor  r10d, r10d
///         mov  eax, 61
///         syscall
///         test eax, eax
///         jg   reap
///         jmp  wait
/// exit:   xor  edi, edi
///         mov  eax, 60
///         syscall
///         nop
/// set:    .quad 1<<1 | 1<<14 | 1<<16
/// filter: ld  [4]                   ; the processor
///         jne x86_64, deny
///         ld  [0]                   ; the system call
///         jeq rt_sigtimedwait, allow
///         jeq wait4, allow
///         jeq exit, allow
/// deny:   ret ERRNO | EPERM
/// allow:  ret ALLOW
/// ```
const X86_64: [u8; 232] = [
    0x48, 0x8d, 0x35, 0x99, 0x00, 0x00, 0x00, 0x31, 0xff, 0x31, 0xd2, 0x41, 0xba, 0x08, 0x00, 0x00,
    0x00, 0xb8, 0x0e, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x48, 0x8d, 0x05, 0x89, 0x00, 0x00, 0x00, 0x50,
    0x6a, 0x08, 0xbf, 0x26, 0x00, 0x00, 0x00, 0xbe, 0x01, 0x00, 0x00, 0x00, 0x31, 0xd2, 0x45, 0x31,
    0xd2, 0x45, 0x31, 0xc0, 0xb8, 0x9d, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xbf, 0x16, 0x00, 0x00, 0x00,
    0xbe, 0x02, 0x00, 0x00, 0x00, 0x48, 0x89, 0xe2, 0xb8, 0x9d, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x90,
    0x48, 0x8d, 0x3d, 0x49, 0x00, 0x00, 0x00, 0x31, 0xf6, 0x31, 0xd2, 0x41, 0xba, 0x08, 0x00, 0x00,
    0x00, 0xb8, 0x80, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x83, 0xf8, 0x11, 0x74, 0x0c, 0x83, 0xf8, 0x02,
    0x74, 0x23, 0x83, 0xf8, 0x0f, 0x74, 0x1e, 0xeb, 0xd7, 0xbf, 0xff, 0xff, 0xff, 0xff, 0x31, 0xf6,
    0xba, 0x01, 0x00, 0x00, 0x00, 0x45, 0x31, 0xd2, 0xb8, 0x3d, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x85,
    0xc0, 0x7f, 0xe6, 0xeb, 0xbb, 0x31, 0xff, 0xb8, 0x3c, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x66, 0x90,
    0x02, 0x40, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00,
    0x15, 0x00, 0x00, 0x04, 0x3e, 0x00, 0x00, 0xc0, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x15, 0x00, 0x03, 0x00, 0x80, 0x00, 0x00, 0x00, 0x15, 0x00, 0x02, 0x00, 0x3d, 0x00, 0x00, 0x00,
    0x15, 0x00, 0x01, 0x00, 0x3c, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x01, 0x00, 0x05, 0x00,
    0x06, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0x7f,
];

/// The same for aarch64: rt_sigprocmask is 135, prctl 167, rt_sigtimedwait 137, wait4 260, exit 93.
const AARCH64: [u32; 66] = [
    0x1000_0601,
    0xd280_0000,
    0xd280_0002,
    0xd280_0103,
    0xd280_10e8,
    0xd400_0001,
    0x1000_0589,
    0xd280_010a,
    0xa9bf_27ea,
    0xd280_04c0,
    0xd280_0021,
    0xd280_0002,
    0xd280_0003,
    0xd280_0004,
    0xd280_14e8,
    0xd400_0001,
    0xd280_02c0,
    0xd280_0041,
    0x9100_03e2,
    0xd280_14e8,
    0xd400_0001,
    0xd503_201f,
    0x1000_0340,
    0xd280_0001,
    0xd280_0002,
    0xd280_0103,
    0xd280_1128,
    0xd400_0001,
    0xf100_441f,
    0x5400_00c0,
    0xf100_081f,
    0x5400_01a0,
    0xf100_3c1f,
    0x5400_0160,
    0x17ff_fff4,
    0x9280_0000,
    0xd280_0001,
    0xd280_0022,
    0xd280_0003,
    0xd280_2088,
    0xd400_0001,
    0xf100_001f,
    0x54ff_ff2c,
    0x17ff_ffeb,
    0xd280_0000,
    0xd280_0ba8,
    0xd400_0001,
    0xd503_201f,
    0x0001_4002,
    0x0000_0000,
    0x0000_0020,
    0x0000_0004,
    0x0400_0015,
    0xc000_00b7,
    0x0000_0020,
    0x0000_0000,
    0x0003_0015,
    0x0000_0089,
    0x0002_0015,
    0x0000_0104,
    0x0001_0015,
    0x0000_005d,
    0x0000_0006,
    0x0005_0001,
    0x0000_0006,
    0x7fff_0000,
];

/// A content-addressed piece of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:…`.
    pub digest: String,
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its media type.
    pub media_type: &'static str,
}

impl Blob {
    /// A blob of these bytes.
    pub fn new(media_type: &'static str, data: Vec<u8>) -> Self {
        let digest = Sha256::digest(&data);
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        Self { digest: format!("sha256:{hex}"), data, media_type }
    }
}

/// The image: the manifest last, after what it refers to.
#[derive(Clone, Debug)]
pub struct Image {
    /// The one layer: an uncompressed tar with `/pause`.
    pub layer: Blob,
    /// The image's configuration.
    pub config: Blob,
    /// The manifest.
    pub manifest: Blob,
}

/// The image for this machine's processor; `None` on one that has no program above.
pub fn image() -> Option<Image> {
    image_for(std::env::consts::ARCH)
}

fn image_for(arch: &str) -> Option<Image> {
    let (goarch, machine, code): (_, u16, Vec<u8>) = match arch {
        "x86_64" => ("amd64", 62, X86_64.to_vec()),
        "aarch64" => ("arm64", 183, AARCH64.iter().flat_map(|w| w.to_le_bytes()).collect()),
        _ => return None,
    };
    let settings = serde_json::json!({
        "Entrypoint": ["/pause"], "Env": ["PATH=/"], "User": "65535:65535", "WorkingDir": "/"
    });
    Some(image_of(tar_of_one("pause", 0o755, &elf(machine, &code)), goarch, settings))
}

/// An image of one layer (an uncompressed tar) for a processor as Go names it, with the `config` of
/// its configuration.
pub fn image_of(layer: Vec<u8>, goarch: &str, settings: serde_json::Value) -> Image {
    let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", layer);
    let config = serde_json::json!({
        "architecture": goarch,
        "os": "linux",
        "config": settings,
        "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
    });
    let config =
        Blob::new("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
    let descriptor = |b: &Blob| serde_json::json!({ "mediaType": b.media_type, "digest": b.digest, "size": b.data.len() });
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(&config),
        "layers": [descriptor(&layer)],
    });
    let manifest =
        Blob::new("application/vnd.oci.image.manifest.v1+json", manifest.to_string().into_bytes());
    Image { layer, config, manifest }
}

/// A 64-bit little-endian executable with one read-and-execute segment.
fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut out = Vec::with_capacity(code.len() + 120);
    out.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    out.extend_from_slice(&2u16.to_le_bytes()); // ET_EXEC
    out.extend_from_slice(&machine.to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&(BASE + HEADERS).to_le_bytes()); // entry
    out.extend_from_slice(&64u64.to_le_bytes()); // program headers
    out.extend_from_slice(&0u64.to_le_bytes()); // no sections
    out.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out.extend_from_slice(&1u32.to_le_bytes()); // PT_LOAD
    out.extend_from_slice(&5u32.to_le_bytes()); // R+X
    for word in [0, BASE, BASE, size, size, 0x1000] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(code);
    out
}

/// A ustar archive of one file, the same bytes every time.
fn tar_of_one(name: &str, mode: u32, data: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", data.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut out = header.to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512) + 1024, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_runs_reaps_and_ends_on_sigterm() {
        let Some(image) = image() else { return };
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pause");
        let size =
            120 + if cfg!(target_arch = "x86_64") { X86_64.len() } else { AARCH64.len() * 4 };
        std::fs::write(&path, &image.layer.data[512..512 + size]).expect("written");
        let mut mode = std::fs::metadata(&path).expect("metadata").permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        std::fs::set_permissions(&path, mode).expect("executable");
        let mut child = std::process::Command::new(&path).spawn().expect("it starts");
        // It blocks its signals first and then waits: once it sleeps in the kernel, it is waiting.
        let stat = format!("/proc/{}/stat", child.id());
        while !std::fs::read_to_string(&stat).expect("alive").contains(") S ") {
            std::thread::yield_now();
        }
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("alive");
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("killed");
        assert_eq!(child.wait().expect("ended").code(), Some(0));
    }

    #[test]
    fn digests_name_the_content() {
        for arch in ["x86_64", "aarch64"] {
            let image = image_for(arch).expect("known");
            let manifest: serde_json::Value =
                serde_json::from_slice(&image.manifest.data).expect("JSON");
            assert_eq!(manifest["layers"][0]["digest"], image.layer.digest.as_str());
            assert_eq!(image.layer.data.len() % 512, 0);
        }
        assert!(image_for("m68k").is_none());
    }
}
