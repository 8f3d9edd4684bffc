//! `isopod uninstall` leaves the machine as it was: no process, mount, namespace, link, address, route,
//! rule, control group or file.
//!
//! Skipped, with the reason, where containers cannot run.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use isopod_tests::{Isopod, alone, eventually, image, no_containers, run};

/// What a machine holds, a line for each thing.
fn machine() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for command in [
        &["ip", "-o", "link", "show"][..],
        &["ip", "-o", "address", "show"],
        &["ip", "-4", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["ip", "netns", "list"],
        &["nft", "list", "tables"],
    ] {
        let said = run(Command::new(command[0]).args(&command[1..]), "").expect_ok();
        all.extend(said.lines().map(|l| format!("{}: {l}", command.join(" "))));
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    all.extend(mounts.lines().map(|l| format!("mount: {l}")));
    for root in [
        "/sys/fs/cgroup",
        "/var/log/pods",
        "/var/log/containers",
        "/run/netns",
        "/etc/cni",
        "/var/lib/cni",
    ] {
        below(Path::new(root), &mut all);
    }
    for setting in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        let value = std::fs::read_to_string(Path::new("/proc/sys").join(setting));
        all.insert(format!("{setting}: {}", value.unwrap_or_default().trim()));
    }
    all
}

/// Directories, links and files; files of a control group come and go with it.
fn below(dir: &Path, all: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            all.insert(format!("directory: {}", entry.path().display()));
            below(&entry.path(), all);
        } else if kind.is_symlink() {
            all.insert(format!("link: {}", entry.path().display()));
        } else if !dir.starts_with("/sys") {
            all.insert(format!("file: {}", entry.path().display()));
        }
    }
}

/// Command lines that name the data directory.
fn processes(data: &Path) -> Vec<String> {
    let data = data.display().to_string();
    let lines = std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(&data)).collect()
}

#[test]
fn uninstall_leaves_nothing_behind() {
    if let Some(why) = no_containers() {
        eprintln!("skipped: {why}");
        return;
    }
    let alone = alone();
    let before = machine();
    let isopod = Isopod::cluster_on(alone, &[]);
    let archive = isopod.scratch().join("image.tar");
    let image = format!("--image={}", image(&archive));
    eventually("containerd takes images", || isopod.try_import(&archive).ok.then_some(()));
    let create = ["create", "deployment", "web", &image, "--replicas=2", "--port=8080"];
    isopod.kubectl(&create).expect_ok();
    isopod.kubectl(&["expose", "deployment", "web", "--type=NodePort"]).expect_ok();
    isopod.kubectl(&["rollout", "status", "deployment/web", "--timeout", "90s"]).expect_ok();
    // The logs of a pod that has ended are kept until the pod goes.
    let ended = ["run", "ended", &image, "--restart=Never", "--command", "--", "true"];
    isopod.kubectl(&ended).expect_ok();
    eventually("the pod has ended", || {
        let phase = ["get", "pod", "ended", "-o", "jsonpath={.status.phase}"];
        (isopod.kubectl(&phase).expect_ok() == "Succeeded").then_some(())
    });
    assert!(processes(&isopod.data_dir()).len() >= 3, "isopod, containerd and its shims run");
    assert_ne!(machine(), before);
    // It stops the running isopod by itself.
    isopod.uninstall().expect_ok();
    assert_eq!(processes(&isopod.data_dir()), Vec::<String>::new());
    assert!(!isopod.data_dir().exists());
    let after = machine();
    let left: Vec<_> = after.difference(&before).collect();
    let lost: Vec<_> = before.difference(&after).collect();
    assert!(left.is_empty() && lost.is_empty(), "left behind: {left:#?}\ntaken away: {lost:#?}");
    // Once more is harmless.
    isopod.uninstall().expect_ok();
}
