//! Killed with SIGKILL at random moments under write load and started again, 200 times: every
//! acknowledged write is there and whole, none is half there, and no revision is used twice.
//!
//! This test starts itself again as the process to be killed. That one reports on its standard
//! output what it finds, what it tries and what was acknowledged:
//! `found KEY NUMBER REVISION`, `ready REVISION`, `try KEY NUMBER`, `done KEY NUMBER REVISION`
//! (a negative number removes).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use api::clock::Rng;
use api::{Card, Key};
use bytes::Bytes;
use isopod_store::{Change, Expect, Options, Store, Write};

const CYCLES: usize = 200;
const TASKS: u64 = 8;
const KEYS: u64 = 25;
const DIR: &str = "ISOPOD_CRASH_TEST_DIR";
const SEED: &str = "ISOPOD_CRASH_TEST_SEED";

/// The text of write `number`; its length and letters follow from the number.
fn fill(number: i64) -> String {
    let letter = char::from(b'a' + (number % 26) as u8);
    let len = (number % 6000 * 7919 % 6000) as usize;
    std::iter::repeat_n(letter, len).collect()
}

/// The process that is killed.
#[test]
#[ignore = "started by the test below"]
fn child() {
    let (Ok(dir), Ok(seed)) = (std::env::var(DIR), std::env::var(SEED)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(Path::new(&dir), seed.parse().expect("a number")));
}

async fn run(dir: &Path, seed: u64) {
    let mut options = Options::new(dir);
    options.compaction_interval = None;
    let store = Store::open(options).unwrap_or_else(|e| panic!("{e}"));
    let mut known = HashMap::new();
    for entry in &store.resource("configmaps").list(None) {
        let object: serde_json::Value = serde_json::from_slice(&entry.json).expect("whole JSON");
        let number = object["number"].as_i64().expect("a number");
        assert_eq!(object["fill"], fill(number), "torn value");
        let version = object["metadata"]["resourceVersion"].as_str().expect("a version");
        assert_eq!(version, entry.revision.to_string());
        println!("found {} {number} {}", entry.card.name, entry.revision);
        known.insert(entry.card.name.to_string(), entry.revision);
    }
    println!("ready {}", store.revision());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let known: HashMap<String, u64> = known.clone();
            tokio::spawn(write(store.clone(), task, Rng::seeded(seed * 100 + task), known))
        })
        .collect();
    for task in tasks {
        task.await.expect("joined");
    }
}

/// Writes to the task's own keys, for ever.
async fn write(store: Store, task: u64, rng: Rng, mut known: HashMap<String, u64>) {
    // Numbers are unique over all tasks and cycles.
    for number in 1.. {
        let number = ((rng.next_u64() >> 24) << 12 | number & 0xFFF) as i64;
        let name = format!("t{task}-k{}", rng.below(KEYS));
        let current = known.get(&name).copied();
        let expect = current.map_or(Expect::Absent, Expect::Revision);
        let body = format!(
            r#"{{"metadata":{{"name":"{name}"}},"number":{number},"fill":"{}"}}"#,
            fill(number)
        );
        let (bytes, rv_at) = (Bytes::from(body), 13);
        let remove = current.is_some() && rng.below(5) == 0;
        let change = if remove {
            Change::Delete { bytes, rv_at }
        } else {
            let card = Card { name: name.as_str().into(), ..Card::default() };
            Change::Put { bytes, rv_at, card }
        };
        let number = if remove { -number } else { number };
        println!("try {name} {number}");
        let key = Key::new("configmaps", "", name.as_str());
        let entry = store.commit(Write { key, expect, change }).await.expect("written");
        println!("done {name} {number} {}", entry.revision);
        if remove {
            known.remove(&name)
        } else {
            known.insert(name, entry.revision)
        };
        if rng.below(500) == 0 {
            store.compact(store.revision().saturating_sub(100)).await.expect("compacted");
        }
    }
}

#[derive(Default)]
struct Model {
    /// What is there for sure: number and revision.
    state: BTreeMap<String, (i64, u64)>,
    /// Tried and not acknowledged; at most one a key.
    tried: BTreeMap<String, i64>,
    /// Every revision seen, with its write.
    revisions: HashMap<u64, i64>,
    /// The highest revision seen before this cycle.
    last: u64,
    acknowledged: usize,
    rescued: usize,
}

impl Model {
    fn revision(&mut self, revision: u64, number: i64) {
        let known = *self.revisions.entry(revision).or_insert(number);
        assert_eq!(known, number, "revision {revision} was used twice");
    }

    fn done(&mut self, name: &str, number: i64, revision: u64) {
        assert!(revision > self.last, "revision {revision} after a crash at {}", self.last);
        self.revision(revision, number);
        assert_eq!(self.tried.remove(name), Some(number));
        self.acknowledged += 1;
        if number < 0 {
            self.state.remove(name);
        } else {
            self.state.insert(name.to_owned(), (number, revision));
        }
    }

    /// What a restarted process found.
    fn found(&mut self, found: BTreeMap<String, (i64, u64)>) {
        let names: BTreeSet<String> = self.state.keys().chain(found.keys()).cloned().collect();
        for name in names {
            let (then, now) = (self.state.get(&name), found.get(&name));
            let tried = self.tried.get(&name).copied();
            if then == now {
                continue;
            }
            // Not acknowledged, but it happened.
            self.rescued += 1;
            match now {
                Some((number, revision)) => {
                    assert_eq!(Some(*number), tried, "{name}: neither acknowledged nor tried");
                    self.revision(*revision, *number);
                }
                None => assert!(tried.is_some_and(|n| n < 0), "{name}: lost {then:?}"),
            }
        }
        self.tried.clear();
        self.state = found;
    }
}

#[test]
fn killed_200_times() {
    let dir = tempfile::tempdir().expect("a directory");
    let rng = Rng::system();
    let (mut model, mut unready, mut biggest) = (Model::default(), 0, 0);
    for cycle in 0..CYCLES {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .env(SEED, rng.below(1 << 40).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("started");
        // The moment: after so many lines, and then some spinning; early ones hit the opening.
        let lines = if cycle % 10 == 0 { 0 } else { rng.below(600) };
        let spin = std::time::Duration::from_micros(rng.below(4000));
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut text = Vec::new();
        for _ in 0..lines {
            if output.read_until(b'\n', &mut text).expect("read") == 0 {
                break;
            }
        }
        let until = std::time::Instant::now() + spin;
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        assert!(child.try_wait().expect("waited").is_none(), "the child ended by itself");
        child.kill().expect("killed");
        std::io::Read::read_to_end(&mut output, &mut text).expect("read");
        child.wait().expect("waited");

        let text = String::from_utf8(text).expect("UTF-8");
        // The kill may have cut the last line.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let (mut found, mut ready) = (BTreeMap::new(), false);
        for line in whole.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |i: usize| words[i].parse::<i64>().expect("a number");
            match words[0] {
                "found" => {
                    found.insert(words[1].to_owned(), (number(2), number(3) as u64));
                }
                "ready" => {
                    ready = true;
                    model.found(std::mem::take(&mut found));
                    let known = model.revisions.keys().copied().max().unwrap_or(1);
                    assert!(number(1) as u64 >= known, "went back to {} from {known}", number(1));
                    model.last = known;
                }
                "try" => drop(model.tried.insert(words[1].to_owned(), number(2))),
                "done" => model.done(words[1], number(2), number(3) as u64),
                _ => {}
            }
        }
        unready += usize::from(!ready);
        let size: u64 = std::fs::read_dir(dir.path())
            .expect("listed")
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .map(|metadata| metadata.len())
            .sum();
        biggest = biggest.max(size);
    }
    println!(
        "{CYCLES} kills ({unready} before it was ready), {} writes acknowledged, {} unacknowledged ones found, at most {} KiB on disk",
        model.acknowledged,
        model.rescued,
        biggest >> 10,
    );
    assert!(model.acknowledged > CYCLES * 20, "hardly any load");
    assert!(biggest < 32 << 20, "the directory grew to {biggest} bytes");
}
