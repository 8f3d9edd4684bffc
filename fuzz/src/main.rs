//! Runs a target on random damage of its corpus, for builds without libFuzzer.
//!
//! `cargo run --profile fuzz -p fuzz --bin fuzz -- json --seconds 60 [--seed 1]`; `all` runs
//! every target. An input that panics, takes longer than a second or asks for more memory than its
//! bound is written to `fuzz/artifacts/<target>/` and ends the run with an error.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Counts the memory that an input asks for.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting does not touch the memory.
#[allow(unsafe_code)] // an allocator has no other form
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The longest that one input may take.
const TIME: Duration = Duration::from_secs(1);
/// Bytes that any input may ask for, and how many more for each of its own.
const MEMORY: usize = 64 << 20;
const MEMORY_EACH: usize = 2048;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 7] = [
    ("json", fuzz::targets::json),
    ("yaml", fuzz::targets::yaml),
    ("proto", fuzz::targets::proto),
    ("patch", fuzz::targets::patch),
    ("selector", fuzz::targets::selector),
    ("quantity", fuzz::targets::quantity),
    ("cel", fuzz::targets::cel),
];

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % end.max(1)
    }
}

/// An input made of two others by a few random changes.
fn damaged(one: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    const ODD: &[u8] = b"\0\xff{}[]\"\\:,-&*\n\x7f<>!=()0129.eEmki/~ ";
    let mut out = one.to_vec();
    for _ in 0..=numbers.below(5) {
        let at = numbers.below(out.len() + 1);
        let end = (at + numbers.below(64)).min(out.len());
        match numbers.below(8) {
            0 => out.truncate(at),
            1 => drop(out.drain(at..end)),
            2 => {
                let piece = out[at..end].repeat(1 + numbers.below(20));
                out.splice(at..at, piece);
            }
            3 if !other.is_empty() => {
                let from = numbers.below(other.len());
                let to = (from + numbers.below(200)).min(other.len());
                out.splice(at..end, other[from..to].iter().copied());
            }
            4 => out.insert(at, ODD[numbers.below(ODD.len())]),
            5 if at < out.len() => out[at] ^= 1 << numbers.below(8),
            6 if at < out.len() => out[at] = u8::try_from(numbers.below(256)).unwrap_or(0),
            _ if at < out.len() => out[at] = ODD[numbers.below(ODD.len())],
            _ => {}
        }
        out.truncate(128 * 1024);
    }
    out
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

/// Runs one input; why it failed.
fn check(target: Target, input: &[u8]) -> Result<(), String> {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let started = Instant::now();
    let outcome = panic::catch_unwind(|| target(input));
    let (took, peak) = (started.elapsed(), PEAK.load(Ordering::Relaxed).saturating_sub(before));
    if outcome.is_err() {
        return Err("it panics".to_owned());
    }
    if took > TIME {
        return Err(format!("it takes {took:?}"));
    }
    if peak > MEMORY + MEMORY_EACH * input.len() {
        return Err(format!("it asks for {} MiB", peak >> 20));
    }
    Ok(())
}

fn run(name: &str, target: Target, time: Duration, seed: u64) -> Result<(), String> {
    let mut corpus = corpus(name);
    if corpus.is_empty() {
        corpus.push(Vec::new());
    }
    let mut numbers = Numbers(seed);
    let started = Instant::now();
    let mut inputs = 0_u64;
    let mut slowest = Duration::ZERO;
    for input in corpus.clone() {
        report(name, &input, check(target, &input))?;
    }
    while started.elapsed() < time {
        let one = &corpus[numbers.below(corpus.len())];
        let other = &corpus[numbers.below(corpus.len())];
        let input = damaged(one, other, &mut numbers);
        let at = Instant::now();
        report(name, &input, check(target, &input))?;
        slowest = slowest.max(at.elapsed());
        inputs += 1;
        // Damage builds on damage.
        if numbers.below(50) == 0 && corpus.len() < 2000 {
            corpus.push(input);
        }
    }
    println!("{name}: {inputs} inputs in {:?}, the slowest took {slowest:?}", started.elapsed());
    Ok(())
}

fn report(name: &str, input: &[u8], outcome: Result<(), String>) -> Result<(), String> {
    let Err(why) = outcome else { return Ok(()) };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(name);
    let file = folder
        .join(format!("{:x}", input.iter().fold(7_u64, |h, b| h.wrapping_mul(31) + u64::from(*b))));
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input));
    Err(format!("{name}: {why}: {} ({kept:?})", file.display()))
}

fn main() -> Result<(), String> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: fuzz TARGET|all [--seconds N] [--seed N] [--input FILE]";
    let wanted = args.next().ok_or(usage)?;
    let (mut seconds, mut seed, mut file) = (60, 1, None);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or(usage)?;
        match flag.as_str() {
            "--seconds" => seconds = value.parse().map_err(|_| usage)?,
            "--seed" => seed = value.parse().map_err(|_| usage)?,
            "--input" => file = Some(value),
            _ => return Err(usage.to_owned()),
        }
    }
    let mut known = false;
    for (name, target) in TARGETS.iter().filter(|(name, _)| wanted == "all" || wanted == *name) {
        known = true;
        match &file {
            Some(file) => {
                let input = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
                report(name, &input, check(*target, &input))?;
            }
            None => run(name, *target, Duration::from_secs(seconds), seed)?,
        }
    }
    if known { Ok(()) } else { Err(usage.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for all targets: the memory is counted for the whole process.
    #[test]
    fn no_target_is_harmed_by_its_corpus() {
        for (name, target) in TARGETS {
            let corpus = corpus(name);
            assert!(!corpus.is_empty(), "{name} has no corpus");
            for input in corpus {
                assert_eq!(check(target, &input), Ok(()), "{name}: {}", input.escape_ascii());
            }
        }
    }
}
