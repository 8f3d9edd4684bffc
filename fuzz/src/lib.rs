//! Fuzz targets: the entrances through which bytes of strangers come in, as plain functions.
//!
//! Each must come back without a panic, in bounded time and memory, whatever the bytes; what it could
//! read it must be able to write and read again. They run under libFuzzer (`fuzz_targets`) and under
//! the random driver of `main`.

pub mod targets;
