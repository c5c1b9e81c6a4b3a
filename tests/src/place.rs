//! Where the tests put things: beside the build, so on a real disk, and gone afterwards.
//!
//! `/tmp` will not do: it is often a tmpfs, where O_DIRECT proves nothing and a full log is a full memory.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

/// The root of the checkout.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the tests crate lies in the workspace").to_path_buf()
}

/// `target/<profile>`, found from the running test executable (`target/<profile>/deps/name-hash`).
pub fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("the path of the test executable");
    let deps = exe.parent().expect("a test executable has a directory");
    let dir = if deps.ends_with("deps") { deps.parent().unwrap_or(deps) } else { deps };
    dir.to_path_buf()
}

/// A fresh directory below `target/<profile>/tmp`, removed on drop. The name of the running test is part of its
/// name, so that what a killed run leaves behind can be told apart.
pub fn temp_dir() -> tempfile::TempDir {
    let base = profile_dir().join("tmp");
    std::fs::create_dir_all(&base).expect("creating target/<profile>/tmp");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test").replace("::", "-");
    tempfile::Builder::new()
        .prefix(&format!("{test}-"))
        .tempdir_in(&base)
        .expect("creating a temporary directory")
}

/// A loopback address nobody listens on. The port lies below the kernel's ephemeral range, so that no outgoing
/// connection of another test can take it between this call and the node's bind.
pub fn free_addr() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    const SPAN: u16 = 20_000;
    let start = (std::process::id() as u16).wrapping_mul(97) % SPAN;
    for _ in 0..SPAN {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(step)) % SPAN;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + SPAN);
}
