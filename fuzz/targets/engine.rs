//! Any bytes, from a client or from a server, against the laws of `proxy::judge`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| herder::proxy::judge::anything(data));
