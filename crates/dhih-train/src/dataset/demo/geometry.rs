//! Points and signed distances (negative inside). No class and no colour here.

use std::ops::{Add, Mul, Sub};

/// A point or a direction.
#[derive(Clone, Copy)]
pub(super) struct P {
    pub(super) x: f32,
    pub(super) y: f32,
}

/// Short for a point, as drawings are full of them.
pub(super) const fn p(x: f32, y: f32) -> P {
    P { x, y }
}

impl P {
    pub(super) fn dot(self, other: P) -> f32 {
        self.x * other.x + self.y * other.y
    }

    pub(super) fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// Rotated by the angle whose sine and cosine are given.
    pub(super) fn turn(self, (sin, cos): (f32, f32)) -> P {
        p(cos * self.x - sin * self.y, sin * self.x + cos * self.y)
    }

    /// Folded onto the right half plane: what is drawn there appears on both sides.
    pub(super) fn mirrored(self) -> P {
        p(self.x.abs(), self.y)
    }
}

impl Add for P {
    type Output = P;
    fn add(self, other: P) -> P {
        p(self.x + other.x, self.y + other.y)
    }
}

impl Sub for P {
    type Output = P;
    fn sub(self, other: P) -> P {
        p(self.x - other.x, self.y - other.y)
    }
}

impl Mul<f32> for P {
    type Output = P;
    fn mul(self, by: f32) -> P {
        p(self.x * by, self.y * by)
    }
}

/// A disc of radius `r` about the origin.
pub(super) fn disc(at: P, r: f32) -> f32 {
    at.length() - r
}

/// An axis-aligned ellipse with half axes `r`; to first order, exact on the rim.
pub(super) fn ellipse(at: P, r: P) -> f32 {
    let scaled = p(at.x / r.x, at.y / r.y);
    let slope = p(scaled.x / r.x, scaled.y / r.y).length();
    let level = scaled.length();
    if slope < 1e-6 { -r.x.min(r.y) } else { level * (level - 1.0) / slope }
}

/// An axis-aligned rectangle with half sides `half`.
pub(super) fn slab(at: P, half: P) -> f32 {
    let (x, y) = (at.x.abs() - half.x, at.y.abs() - half.y);
    p(x.max(0.0), y.max(0.0)).length() + x.max(y).min(0.0)
}

/// A round-ended stroke from `from` to `to`, of half width `r`.
pub(super) fn stroke(at: P, from: P, to: P, r: f32) -> f32 {
    let (along, offset) = (to - from, at - from);
    let t = (offset.dot(along) / along.dot(along)).clamp(0.0, 1.0);
    (offset - along * t).length() - r
}

/// A convex polygon, its corners in clockwise order as seen on the sheet. Outside a corner the
/// distance is that to the nearest side's line, so that grown corners stay sharp.
pub(super) fn convex<const N: usize>(at: P, corners: [P; N]) -> f32 {
    let mut distance = f32::MIN;
    for (i, &from) in corners.iter().enumerate() {
        let side = corners[(i + 1) % N] - from;
        let offset = at - from;
        distance = distance.max((side.y * offset.x - side.x * offset.y) / side.length());
    }
    distance
}

/// 1 inside, 0 outside, a ramp `width` wide centred on the rim: an anti-aliased edge.
pub(super) fn cover(distance: f32, width: f32) -> f32 {
    (0.5 - distance / width).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_at_known_points() {
        let square = [p(-1.0, -1.0), p(1.0, -1.0), p(1.0, 1.0), p(-1.0, 1.0)];
        let cases = [
            ("disc", disc(p(3.0, 4.0), 2.0), 3.0),
            ("ellipse rim", ellipse(p(0.0, 0.5), p(2.0, 0.5)), 0.0),
            ("ellipse centre", ellipse(p(0.0, 0.0), p(2.0, 0.5)), -0.5),
            ("slab corner", slab(p(4.0, 5.0), p(1.0, 1.0)), 5.0),
            ("slab inside", slab(p(0.5, 0.0), p(1.0, 2.0)), -0.5),
            ("stroke side", stroke(p(1.0, 2.0), p(0.0, 0.0), p(4.0, 0.0), 0.5), 1.5),
            ("stroke end", stroke(p(7.0, 4.0), p(0.0, 0.0), p(4.0, 0.0), 0.5), 4.5),
            ("convex inside", convex(p(0.25, 0.0), square), -0.75),
            ("convex outside", convex(p(0.0, -3.0), square), 2.0),
            ("cover on the rim", cover(0.0, 1.0), 0.5),
            ("cover inside", cover(-2.0, 1.0), 1.0),
        ];
        for (what, got, want) in cases {
            assert!((got - want).abs() < 1e-5, "{what}: {got}, not {want}");
        }
    }
}
