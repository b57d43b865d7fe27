//! Drawn 32 x 32 images of a few classes, which a network and a person can tell apart.

/// Pixels a side.
pub const SIDE: usize = 32;
/// The drawn shapes; image `i` is of class `i % 6`.
pub const CLASSES: [&str; 6] = ["disc", "square", "ring", "cross", "stripes", "diamond"];

/// Image `i`, `[SIDE, SIDE, 3]`. The same `i` always gives the same bytes.
pub fn picture(i: usize) -> Vec<u8> {
    let class = i % CLASSES.len();
    let vary = |salt: usize, span: usize| (i * 7919 + salt * 104_729) / 13 % span;
    let (cx, cy) = (13.0 + vary(1, 7) as f32, 13.0 + vary(2, 7) as f32);
    let radius = 7.0 + vary(3, 5) as f32;
    let hues = [
        [214, 84, 61],
        [66, 120, 196],
        [230, 170, 60],
        [70, 150, 110],
        [140, 96, 180],
        [205, 205, 200],
    ];
    let ink: [usize; 3] = hues[(class + vary(4, 2) * 3) % hues.len()];
    let paper = [24 + vary(5, 40), 28 + vary(6, 40), 36 + vary(7, 40)];
    let mut pixels = Vec::with_capacity(SIDE * SIDE * 3);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let (dx, dy) = (x as f32 - cx, y as f32 - cy);
            let distance = (dx * dx + dy * dy).sqrt();
            let (a, b) = (dx.abs(), dy.abs());
            let inside = match class {
                0 => distance < radius,
                1 => a < radius * 0.85 && b < radius * 0.85,
                2 => distance < radius && distance > radius * 0.55,
                3 => (a < 3.0 || b < 3.0) && distance < radius * 1.2,
                4 => a < radius && b < radius && (y / 3) % 2 == 0,
                _ => a + b < radius * 1.2,
            };
            let grain = (x * 31 + y * 17 + i * 5) % 14;
            let color = if inside { ink } else { paper };
            pixels.extend(color.map(|c| (c + grain).min(255) as u8));
        }
    }
    pixels
}
