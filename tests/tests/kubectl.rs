//! Every unmodified kubectl of this machine against one cluster, as transcripts
//! (`kubectl/*.txt`) of what is typed and what is said.
//!
//! A transcript is a list of shell commands and the lines each has to print:
//!
//! ```text
//! # a comment
//! $ kubectl get pods            must succeed
//! ! kubectl get pod nobody      must fail
//! ? kubectl get pods            must succeed and say all within a minute; tried again until then
//! $1.31 kubectl debug …         only with this kubectl or a newer one
//! web-… 1/1 Running             one of its lines, after the line before: `…` is anything, blanks are one
//! - Error                       no line holds this
//! ```
//!
//! Commands run in a directory and a namespace (`$NS`) of their own, both shared by one version's
//! transcripts. Skipped, with the reason, where there is no kubectl or no way to run containers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use isopod_tests::{Isopod, Said, eventually, image, kubectls, no_containers, run};

/// The transcripts in their order: later ones may use what earlier ones made.
const TRANSCRIPTS: &[(&str, &str)] = &[
    ("server", include_str!("kubectl/server.txt")),
    ("objects", include_str!("kubectl/objects.txt")),
    ("workloads", include_str!("kubectl/workloads.txt")),
    ("streams", include_str!("kubectl/streams.txt")),
    ("access", include_str!("kubectl/access.txt")),
    ("node", include_str!("kubectl/node.txt")),
    ("deletion", include_str!("kubectl/deletion.txt")),
];

/// How long a `?` command may take to say what it should.
const SOON: Duration = Duration::from_secs(20);

/// What must become of a command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Success,
    Failure,
    /// Success at last.
    Soon,
}

/// The minor version that isopod's own command line speaks.
const OWN: u32 = 36;

/// One command of a transcript.
#[derive(Debug)]
struct Step<'a> {
    line: usize,
    outcome: Outcome,
    /// The minor version of the oldest kubectl that has the command.
    since: u32,
    command: &'a str,
    says: Vec<&'a str>,
    never: Vec<&'a str>,
}

fn parse(text: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let outcome = match line.chars().next() {
            None | Some('#') => continue,
            Some('$') => Some(Outcome::Success),
            Some('!') => Some(Outcome::Failure),
            Some('?') => Some(Outcome::Soon),
            Some(_) => None,
        };
        if let Some(outcome) = outcome {
            let (mark, command) = line.split_once(' ').expect("a command after the mark");
            let since = mark[1..].strip_prefix("1.").map_or(0, |v| v.parse().expect("a version"));
            let (says, never) = (Vec::new(), Vec::new());
            steps.push(Step { line: number + 1, outcome, since, command, says, never });
            continue;
        }
        let step = steps.last_mut().expect("a command before what it says");
        match line.strip_prefix("- ") {
            Some(text) => step.never.push(text),
            None => step.says.push(line),
        }
    }
    steps
}

/// Whether the words of a line are those of a pattern.
fn fits(pattern: &str, line: &str) -> bool {
    let words = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (words(pattern), words(line));
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut ended = false;
    for part in parts {
        let Some(at) = (if part.is_empty() { Some(rest.len()) } else { rest.find(part) }) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        ended = part.is_empty();
    }
    ended || rest.is_empty()
}

/// Why what was said is not what the step wants.
fn complaint(step: &Step<'_>, said: &Said) -> Option<String> {
    let all = format!("{}\n{}", said.out, said.err);
    if said.ok == (step.outcome == Outcome::Failure) {
        return Some(if said.ok { "succeeded".into() } else { "failed".into() });
    }
    let mut lines = all.lines();
    for pattern in &step.says {
        if !lines.any(|line| fits(pattern, line)) {
            return Some(format!("does not say (here): {pattern}"));
        }
    }
    let never = step.never.iter().find(|text| all.contains(*text));
    never.map(|text| format!("says: {text}"))
}

/// One kubectl with a directory, a kubeconfig and a namespace of its own.
struct Session {
    minor: u32,
    dir: PathBuf,
    namespace: String,
}

impl Session {
    /// An unmodified kubectl.
    fn real(isopod: &Isopod, kubectl: &Path, image: &str) -> Self {
        let name = kubectl.file_name().expect("a name").to_string_lossy().into_owned();
        let version =
            run(Command::new(kubectl).args(["version", "--client", "-o", "json"]), "").expect_ok();
        let version: serde_json::Value = serde_json::from_str(&version).expect("JSON");
        let minor = version["clientVersion"]["minor"].as_str().expect("a version");
        let minor: u32 = minor.trim_end_matches('+').parse().expect("a number");
        let command = kubectl.display().to_string();
        Self::start(isopod, minor, &name, &format!("k{minor}"), &command, image)
    }

    /// isopod's own.
    fn own(isopod: &Isopod, image: &str) -> Self {
        let command = format!("{} kubectl", isopod_tests::binary().display());
        Self::start(isopod, OWN, "own", "own", &command, image)
    }

    fn start(
        isopod: &Isopod,
        minor: u32,
        name: &str,
        namespace: &str,
        command: &str,
        image: &str,
    ) -> Self {
        let dir = isopod.scratch().join(name);
        std::fs::create_dir_all(dir.join("bin")).expect("a directory");
        let script = dir.join("bin/kubectl");
        std::fs::write(&script, format!("#!/bin/sh\nexec {command} \"$@\"\n")).expect("writes");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, executable).expect("sets");
        std::fs::copy(isopod.kubeconfig(), dir.join("kubeconfig")).expect("copies");
        std::fs::write(dir.join("image"), image).expect("writes");
        let session = Self { minor, dir, namespace: namespace.into() };
        // A context holds its cluster, its user and where it works.
        let edit = r"kubectl create ns $NS && sed -i 's/^\( *\)cluster: isopod$/&\n\1namespace: '$NS/ kubeconfig";
        session.shell(isopod, edit).expect_ok();
        session
    }

    fn shell(&self, isopod: &Isopod, command: &str) -> Said {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("timeout");
        shell.args(["40", "bash", "-o", "pipefail", "-c", command]).current_dir(&self.dir);
        shell.env("PATH", format!("{}:{path}", self.dir.join("bin").display()));
        shell.env("KUBECONFIG", self.dir.join("kubeconfig")).env("HOME", &self.dir);
        shell
            .env("NS", &self.namespace)
            .env("SERVER", format!("https://127.0.0.1:{}", isopod.port));
        shell.env("IMAGE", std::fs::read_to_string(self.dir.join("image")).expect("reads"));
        // Ports of this machine for port-forward, apart from other versions'.
        shell.env("PORT", (18_000 + self.minor * 10).to_string());
        run(&mut shell, "")
    }

    /// Runs a transcript to its end; what went wrong.
    fn play(&self, isopod: &Isopod, name: &str, text: &str) -> String {
        let mut wrong = String::new();
        for step in parse(text).iter().filter(|s| s.since <= self.minor) {
            let started = Instant::now();
            let (complaint, said) = loop {
                let said = self.shell(isopod, step.command);
                let complaint = complaint(step, &said);
                if complaint.is_none() || step.outcome != Outcome::Soon || started.elapsed() > SOON
                {
                    break (complaint, said);
                }
                std::thread::park_timeout(Duration::from_millis(200));
            };
            if let Some(complaint) = complaint {
                let (minor, line) = (self.minor, step.line);
                let text = format!(
                    "\n1.{minor} {name}.txt:{line}: {}\n  {complaint}\n{}{}",
                    step.command, said.out, said.err
                );
                // Told at once too: a broken cluster makes the rest take long.
                eprintln!("{text}");
                wrong += &text;
            }
        }
        wrong
    }
}

/// A cluster and an image for it.
fn cluster() -> (Isopod, String) {
    let isopod = Isopod::cluster(&[]);
    eventually("the node is ready", || {
        let nodes = isopod.kubectl(&["get", "nodes", "--no-headers"]);
        nodes.out.contains(" Ready ").then_some(())
    });
    let archive = isopod.scratch().join("image.tar");
    let image = image(&archive);
    isopod.import(&archive);
    (isopod, image)
}

#[test]
fn our_own_kubectl_works() {
    if let Some(why) = no_containers() {
        eprintln!("skipped: {why}");
        return;
    }
    let (isopod, image) = cluster();
    let session = Session::own(&isopod, &image);
    let wrong = session.play(&isopod, "own", include_str!("kubectl/own.txt"));
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_kubectl_works() {
    let found = kubectls();
    let why = no_containers().or_else(|| found.is_empty().then_some("needs a kubectl"));
    if let Some(why) = why {
        eprintln!("skipped: {why}");
        return;
    }
    // For work on one of them: ISOPOD_KUBECTL=1.33 or all, ISOPOD_TRANSCRIPT=streams.
    let chosen = |name: &str, variable: &str| {
        std::env::var(variable).map_or(true, |v| v.split(',').any(|v| name.ends_with(v)))
    };
    let (isopod, image) = cluster();
    let mut wrong = String::new();
    // The oldest and the newest bound what clients do; ISOPOD_KUBECTL=all plays every one.
    let wanted: Vec<_> = match std::env::var("ISOPOD_KUBECTL").as_deref() {
        Err(_) => {
            let ends = [found.first(), found.last()];
            let mut ends: Vec<_> = ends.into_iter().flatten().collect();
            ends.dedup();
            ends
        }
        Ok("all") => found.iter().collect(),
        Ok(_) => found.iter().filter(|k| chosen(&k.to_string_lossy(), "ISOPOD_KUBECTL")).collect(),
    };
    for kubectl in wanted {
        let session = Session::real(&isopod, kubectl, &image);
        for (name, text) in TRANSCRIPTS.iter().filter(|(name, _)| chosen(name, "ISOPOD_TRANSCRIPT"))
        {
            wrong += &session.play(&isopod, name, text);
        }
        session.shell(&isopod, "kubectl delete ns $NS --wait=false").expect_ok();
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn patterns() {
    let cases = [
        ("a b", "a   b", true),
        ("a b", "a b c", false),
        ("b c", "a b c", false),
        ("a … c", "a b b c", true),
        ("a…", "abc", true),
        ("…c", "abc", true),
        ("…b", "abc", false),
        ("pod/… created", "pod/web created", true),
    ];
    for (pattern, line, yes) in cases {
        assert_eq!(fits(pattern, line), yes, "{pattern} {line}");
    }
}
