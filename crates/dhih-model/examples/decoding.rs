//! Measures how fast pictures are read for a network, on one thread: each file is decoded, cropped and scaled. `cargo xtask bench intake` runs
//! it beside Pillow.

use std::time::Instant;

use dhih_model::image::{Limits, PictureReader, decode};
use dhih_model::{InputShape, Result};

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let side: usize = arguments.next().ok_or("usage: decoding SIDE FILE...")?.parse()?;
    let files = arguments.map(std::fs::read).collect::<std::io::Result<Vec<_>>>()?;
    let shape = InputShape::new(side, side, 3);
    let reader = PictureReader::new(Limits::files());
    let measure = |fit: &dyn Fn(&[u8]) -> Result<Vec<u8>>| -> Result<f64> {
        let started = Instant::now();
        for file in &files {
            std::hint::black_box(fit(file)?);
        }
        Ok(started.elapsed().as_secs_f64() / files.len() as f64)
    };
    let seconds = measure(&|file| reader.fitted(file, shape))?;
    let whole = measure(&|file| Ok(decode(file, reader.limits())?.fit(shape)))?;
    println!("{{\"seconds\":{seconds},\"seconds_whole\":{whole}}}");
    Ok(())
}
