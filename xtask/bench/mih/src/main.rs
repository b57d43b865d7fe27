//! Microseconds a query of the crate mih-rs, one by one on one thread: `bench-mih CODES.npy QUERIES.npy K SAMPLE`. Codes of 64 bits.
//! Prints one JSON object.

use std::error::Error;
use std::time::Instant;

use mih_rs::Index;

/// The codes of a file that `generate_codes` wrote: a header of version 1, then 8 bytes a code.
fn read(path: &str) -> Result<Vec<u64>, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let length = bytes.get(8..10).ok_or("no .npy file")?;
    let start = 10 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    let codes = bytes.get(start..).ok_or("no .npy file")?.as_chunks::<8>().0;
    Ok(codes.iter().map(|code| u64::from_le_bytes(*code)).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [codes, queries, k, sample] = &words[..] else {
        return Err("give CODES.npy QUERIES.npy K SAMPLE".into());
    };
    let (k, sample): (usize, usize) = (k.parse()?, sample.parse()?);
    let index = Index::new(read(codes)?)?;
    let queries: Vec<u64> = read(queries)?.into_iter().take(sample).collect();
    let mut searcher = index.topk_searcher();
    let mut found = 0;
    let mut search = |query: u64| found += searcher.run(query, k).len();
    queries.iter().take(1).for_each(|&query| search(query));
    let started = Instant::now();
    queries.iter().for_each(|&query| search(query));
    let micros = 1e6 * started.elapsed().as_secs_f64() / queries.len().max(1) as f64;
    println!(r#"{{"name":"mih-rs","micros":{micros},"exact":1.0,"hits":{found}}}"#);
    Ok(())
}
