//! Pictures of any bytes: a header that is read keeps its promises, and what is decoded has the pixels it says.
#![no_main]

use dhih_model::InputShape;
use dhih_model::image::{Header, Limits, decode, decode_for};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_pixels: 1 << 20, max_side: 4096, ..Limits::default() };
    let Ok(picture) = decode(bytes, &limits) else { return };
    let header = Header::read(bytes).expect("what was decoded has a header");
    assert!(header.decoding_bytes() > 0);
    assert_eq!(picture.pixels().len(), picture.width() * picture.height() * 3);
    let shape = InputShape::new(8, 8, 3);
    let fitted = decode_for(bytes, &limits, shape).expect("what is decoded whole is decoded for a shape");
    assert_eq!(fitted.fit(shape).len(), shape.len());
});
