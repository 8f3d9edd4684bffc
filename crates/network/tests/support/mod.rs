//! Network namespaces for tests: a "machine" and its "pods", all private to the test, gone with it.
#![allow(unsafe_code, dead_code)]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// A network namespace, alive while this is.
pub struct Namespace(File);

impl Namespace {
    /// A new one; `None` (with a printed reason) where this user cannot make any.
    pub fn new() -> Option<Self> {
        let made = std::thread::spawn(|| {
            // SAFETY: only this short thread changes its namespace.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.ok()?;
            File::open("/proc/thread-self/ns/net").ok()
        })
        .join()
        .expect("the thread ran");
        if made.is_none() {
            println!("skipped: network namespaces need root");
        }
        made.map(Self)
    }

    /// A path that names it for this process's children and threads.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs something in it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                        .expect("enters the namespace");
                    work()
                })
                .join()
                .unwrap_or_else(|e| std::panic::resume_unwind(e))
        })
    }
}
