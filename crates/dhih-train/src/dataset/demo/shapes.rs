//! The ten drawings, one for each class: their outlines, without colour, pose and background.
//!
//! Each is drawn upright in a square reaching from -1 to 1, y down. A `Quirk` varies the
//! proportions, so that no two of a class have quite the same outline.

use super::geometry::{P, convex, disc, ellipse, p, slab, stroke};

/// Signed distances to the three layers of a drawing, painted in this order.
pub(super) struct Sketch {
    pub(super) body: f32,
    pub(super) accent: f32,
    /// Small marks in a colour that stands out from the body.
    pub(super) detail: f32,
}

impl Sketch {
    /// Distance to the whole drawing.
    pub(super) fn outline(&self) -> f32 {
        self.body.min(self.accent).min(self.detail)
    }
}

/// Individual proportions, each 0 to 1.
pub(super) type Quirk = [f32; 3];

/// One drawing: a point and the proportions give the distances there.
pub(super) type Drawing = fn(P, Quirk) -> Sketch;

/// Classes in label order.
pub(super) const DRAWINGS: [(&str, Drawing); 10] = [
    ("cat", cat),
    ("fish", fish),
    ("flower", flower),
    ("heart", heart),
    ("house", house),
    ("key", key),
    ("moon", moon),
    ("mushroom", mushroom),
    ("sailboat", sailboat),
    ("star", star),
];

/// The distance to a layer that the drawing does not have.
const NOWHERE: f32 = 9.0;

fn lerp(low: f32, high: f32, t: f32) -> f32 {
    low + (high - low) * t
}

/// `solid` with `hole` cut out.
fn without(solid: f32, hole: f32) -> f32 {
    solid.max(-hole)
}

fn cat(at: P, [ears, eyes, chin]: Quirk) -> Sketch {
    let half = at.mirrored();
    let head = ellipse(at - p(0.0, 0.22), p(0.84, lerp(0.62, 0.72, chin)));
    let tip = p(lerp(0.62, 0.78, ears), lerp(-0.82, -0.98, ears));
    let ear = convex(half, [p(0.08, -0.28), tip, p(0.84, 0.2)]);
    let inner_ear = convex(half - p(0.02, 0.16), [p(0.3, -0.42), tip * 0.92, p(0.74, -0.2)]);
    let nose = convex(half, [p(-0.16, 0.3), p(0.16, 0.3), p(0.0, 0.5)]);
    let eye = ellipse(half - p(0.36, 0.1), p(lerp(0.11, 0.15, eyes), lerp(0.2, 0.15, eyes)));
    let mouth = stroke(half, p(0.0, 0.66), p(0.26, 0.56), 0.05);
    Sketch {
        body: head.min(ear),
        accent: inner_ear.max(ear + 0.1),
        detail: eye.min(nose).min(mouth),
    }
}

fn fish(at: P, [girth, tail, fins]: Quirk) -> Sketch {
    let girth = lerp(0.44, 0.58, girth);
    let trunk = ellipse(at + p(0.2, 0.0), p(0.76, girth));
    let spread = lerp(0.46, 0.66, tail);
    let half = p(at.x, at.y.abs());
    let fork = convex(half, [p(0.36, 0.0), p(0.98, -0.02), p(0.98, spread), p(0.84, spread)]);
    let notch = disc(at - p(1.16, 0.0), 0.34);
    let reach = lerp(0.1, 0.24, fins);
    let fin = convex(
        half,
        [p(-0.4, 0.3), p(0.3, 0.2), p(0.28, girth + reach), p(0.02, girth + reach * 0.6)],
    );
    let eye = disc(at - p(-0.56, -0.1), 0.16);
    let gill = without(disc(at + p(0.62, 0.0), 0.5), disc(at + p(0.7, 0.0), 0.5)).max(trunk + 0.08);
    Sketch {
        body: trunk,
        accent: without(fork, notch).min(fin.max(-trunk)),
        detail: without(eye, eye + 0.11).min(gill),
    }
}

fn flower(at: P, [petals, width, core]: Quirk) -> Sketch {
    // The turn from one petal to the next, for five and for six petals.
    let (count, step) =
        if petals < 0.5 { (5, (0.951_056_5, 0.309_017)) } else { (6, (0.866_025_4, 0.5)) };
    let slim = lerp(0.26, 0.32, width);
    let mut spoke = at;
    let mut blossom = NOWHERE;
    for _ in 0..count {
        blossom = blossom.min(ellipse(spoke + p(0.0, 0.56), p(slim, 0.42)));
        spoke = spoke.turn(step);
    }
    let heart = disc(at, lerp(0.27, 0.34, core));
    Sketch { body: blossom, accent: heart, detail: without(heart, heart + 0.09) }
}

fn heart(at: P, [plump, inlay, _]: Quirk) -> Sketch {
    // A square standing on its corner, with a half disc on each of its upper sides.
    let heart = |at: P, side: f32| {
        const DIAGONAL: f32 = std::f32::consts::FRAC_1_SQRT_2;
        let half = at.mirrored();
        let square = slab(half.turn((DIAGONAL, DIAGONAL)), p(side, side));
        square.min(disc(half - p(side * DIAGONAL, -side * DIAGONAL), side))
    };
    let at = at - p(0.0, 0.1);
    let side = lerp(0.5, 0.57, plump);
    let inner = if inlay < 0.6 { heart(at, lerp(0.2, 0.32, inlay)) } else { NOWHERE };
    Sketch { body: heart(at, side), accent: inner, detail: NOWHERE }
}

fn house(at: P, [width, door, pitch]: Quirk) -> Sketch {
    let wide = lerp(0.56, 0.68, width);
    let walls = slab(at - p(0.0, 0.38), p(wide, 0.48));
    let ridge = lerp(-0.78, -0.96, pitch);
    let roof = convex(at, [p(-0.96, 0.0), p(0.0, ridge), p(0.96, 0.0)]);
    let chimney = slab(at - p(0.48, -0.58), p(0.12, 0.3));
    let shift = lerp(-0.26, -0.18, door);
    let entry = slab(at - p(shift, 0.58), p(0.16, 0.28));
    let window = slab(at - p(shift + 0.5, 0.36), p(0.15, 0.15));
    Sketch { body: walls.min(chimney), accent: roof, detail: entry.min(window) }
}

fn key(at: P, [bow, teeth, hole]: Quirk) -> Sketch {
    let ring = lerp(0.38, 0.46, bow);
    let top = at - p(0.0, -0.5);
    let eye = disc(top, lerp(0.17, 0.22, hole));
    let blade = slab(at - p(0.0, 0.42), p(0.12, 0.54));
    let long = lerp(0.24, 0.34, teeth);
    let bits = slab(at - p(long, 0.82), p(long - 0.04, 0.12))
        .min(slab(at - p(long, 0.46), p(long * 0.8 - 0.04, 0.1)));
    let collar = slab(at - p(0.0, -0.02), p(0.22, 0.07));
    Sketch {
        body: without(disc(top, ring), eye).min(blade).min(bits),
        accent: collar,
        detail: NOWHERE,
    }
}

fn moon(at: P, [phase, lean, spots]: Quirk) -> Sketch {
    let disc_of = disc(at + p(0.12, 0.0), 0.88);
    let bite = disc(at - p(lerp(0.3, 0.44, phase), lerp(-0.2, 0.2, lean)), lerp(0.62, 0.7, phase));
    let crescent = without(disc_of, bite);
    let crater = disc(at - p(-0.7, lerp(-0.1, 0.2, spots)), 0.13)
        .min(disc(at - p(-0.5, lerp(0.4, 0.55, spots)), 0.09));
    Sketch { body: crescent, accent: crater.max(crescent + 0.06), detail: NOWHERE }
}

fn mushroom(at: P, [dome, stem, spots]: Quirk) -> Sketch {
    let crown = ellipse(at - p(0.0, 0.02), p(0.94, lerp(0.78, 0.94, dome)));
    let cap = crown.max(at.y - 0.1);
    let foot = p(lerp(0.26, 0.36, stem), 0.92);
    let stalk = convex(at, [p(-0.22, 0.0), p(0.22, 0.0), p(foot.x, foot.y), p(-foot.x, foot.y)]);
    let shift = lerp(-0.08, 0.08, spots);
    let dots = disc(at - p(shift, -0.46), 0.19)
        .min(disc(at - p(shift - 0.5, -0.16), 0.15))
        .min(disc(at - p(shift + 0.5, -0.18), 0.15));
    Sketch { body: cap, accent: without(stalk, cap), detail: dots.max(cap + 0.04) }
}

fn sailboat(at: P, [mast, jib, hull]: Quirk) -> Sketch {
    let keel = lerp(0.44, 0.6, hull);
    let boat = convex(at, [p(-0.94, 0.46), p(0.94, 0.46), p(keel, 0.92), p(-keel, 0.92)]);
    let top = lerp(-0.86, -0.98, mast);
    let pole = slab(at - p(0.0, -0.2), p(0.05, 0.7));
    let main = convex(at, [p(0.1, top), p(0.8, 0.32), p(0.1, 0.32)]);
    let fore = convex(at, [p(-0.1, lerp(-0.4, -0.7, jib)), p(-0.1, 0.32), p(-0.66, 0.32)]);
    Sketch { body: boat.min(pole).min(fore), accent: main, detail: NOWHERE }
}

fn star(at: P, [waist, inlay, _]: Quirk) -> Sketch {
    // Two reflections fold the five arms onto the upper one; its right edge is then the only one.
    let fold = |at: P, axis: P| at - axis * (2.0 * at.dot(axis).max(0.0));
    let right = p(0.809_017, 0.587_785_25);
    let arm = fold(fold(at.mirrored(), right), p(-right.x, right.y)).mirrored();
    let (tip, inner) = (p(0.0, -1.0), lerp(0.42, 0.52, waist));
    let notch = p(0.587_785_25, -0.809_017) * inner;
    let edge = notch - tip;
    let body = (edge.y * (arm.x - tip.x) - edge.x * (arm.y - tip.y)) / edge.length();
    let inner = if inlay < 0.6 { body + lerp(0.2, 0.26, inlay) } else { NOWHERE };
    Sketch { body, accent: inner, detail: NOWHERE }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The points of a grid over -1.5 to 1.5 that lie in the drawing.
    fn silhouette(drawing: Drawing, quirk: Quirk) -> Vec<P> {
        let step = |i: usize| (i as f32 - 59.5) / 40.0;
        let grid = (0..120 * 120).map(|i| p(step(i % 120), step(i / 120)));
        grid.filter(|&at| drawing(at, quirk).outline() < 0.0).collect()
    }

    #[test]
    fn drawings_fill_their_square_and_stay_in_it() {
        for (name, drawing) in DRAWINGS {
            for quirk in [[0.0; 3], [0.5; 3], [1.0; 3], [0.0, 1.0, 0.5], [1.0, 0.0, 0.5]] {
                let inside = silhouette(drawing, quirk);
                // 40 x 40 points to a unit square, so 6400 to the drawing's.
                let filled = inside.len() as f32 / 6400.0;
                assert!((0.14..0.75).contains(&filled), "{name} {quirk:?} fills {filled}");
                let reach = inside.iter().fold(0.0_f32, |r, at| r.max(at.x.abs()).max(at.y.abs()));
                assert!((0.8..1.02).contains(&reach), "{name} {quirk:?} reaches {reach}");
            }
        }
    }

    #[test]
    fn every_quirk_keeps_the_marks_inside_the_figure() {
        for (name, drawing) in DRAWINGS {
            for quirk in [[0.0; 3], [0.5; 3], [1.0; 3]] {
                let loose = silhouette(drawing, quirk)
                    .into_iter()
                    .map(|at| drawing(at, quirk))
                    .filter(|sketch| sketch.body.min(sketch.accent) > 0.02)
                    .count();
                assert_eq!(loose, 0, "{name} {quirk:?} has marks outside");
            }
        }
    }
}
