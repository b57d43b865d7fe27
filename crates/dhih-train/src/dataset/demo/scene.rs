//! One image: pose, palette, backdrop, clutter, light and occlusion around a drawing. `shapes` has the drawings, `canvas` mixes colours.

use super::SIDE;
use super::canvas::{Canvas, Colour};
use super::dice::{Dice, sin_cos};
use super::geometry::{P, convex, cover, disc, p, slab};
use super::shapes::{Drawing, Quirk, Sketch};

/// Paints `drawing` in a random scene. Nothing but the drawing depends on the class.
pub(super) fn paint(drawing: Drawing, dice: &mut Dice) -> [u8; SIDE * SIDE * 3] {
    let pose = Pose::draw(dice);
    let palette = Palette::draw(dice);
    let style = Style::draw(dice);
    let mut canvas = Canvas::new();
    backdrop(&mut canvas, &palette, dice);
    for _ in 0..4 + dice.below(8) {
        let scrap = Scrap::draw(dice, &palette);
        scrap.stamp(&mut canvas);
    }
    figure(&mut canvas, drawing, &pose, &palette, &style);
    if dice.chance(0.4) {
        ribbon(&mut canvas, &pose, &palette, dice);
    }
    if dice.chance(0.4) {
        ball(&mut canvas, &pose, &palette, dice);
    }
    light(&mut canvas, dice);
    let grain = dice.range(1.0, 7.0);
    canvas.develop(dice, grain)
}

/// The placement of the drawing: a similarity, a slight stretch, and perhaps a mirror image.
struct Pose {
    centre: P,
    /// Half the drawing's size in pixels.
    radius: f32,
    tilt: (f32, f32),
    /// Divisors that bring a pixel offset to the drawing's own square.
    stretch: P,
    quirk: Quirk,
}

impl Pose {
    fn draw(dice: &mut Dice) -> Self {
        let radius = dice.range(8.5, 13.5);
        let play = (17.0 - radius) * 0.75;
        let middle = SIDE as f32 / 2.0;
        let centre = p(middle + dice.around(play), middle + dice.around(play));
        let aspect = dice.range(0.9, 1.12);
        let facing = if dice.chance(0.5) { 1.0 } else { -1.0 };
        Self {
            centre,
            radius,
            tilt: sin_cos(dice.around(0.11)),
            stretch: p(radius * aspect * facing, radius / aspect),
            quirk: [dice.unit(), dice.unit(), dice.unit()],
        }
    }

    /// The drawing at a pixel position, distances in pixels.
    fn sketch(&self, drawing: Drawing, at: P) -> Sketch {
        let local = (at - self.centre).turn(self.tilt);
        let unit = drawing(p(local.x / self.stretch.x, local.y / self.stretch.y), self.quirk);
        Sketch {
            body: unit.body * self.radius,
            accent: unit.accent * self.radius,
            detail: unit.detail * self.radius,
        }
    }
}

/// Colours that fit together; the drawing's differ from the ground's in lightness.
struct Palette {
    ground: [Colour; 3],
    body: Colour,
    accent: Colour,
    detail: Colour,
    hue: f32,
    dark_ground: bool,
}

impl Palette {
    fn draw(dice: &mut Dice) -> Self {
        let dark_ground = dice.chance(0.5);
        let hue = dice.unit();
        let base = if dark_ground { dice.range(0.27, 0.5) } else { dice.range(0.74, 0.92) };
        let mut shade = |spread: f32| {
            let lightness = base + dice.around(0.09);
            Colour::lch(lightness, dice.range(0.04, 0.13), hue + dice.around(spread))
        };
        let ground = [shade(0.02), shade(0.14), shade(0.14)];
        // Complement, triad or neighbour of the ground's hue.
        let own = hue + [0.5, 0.36, -0.36, 0.2, -0.2][dice.below(5) as usize] + dice.around(0.05);
        let (low, high) = if dark_ground { (0.68, 0.9) } else { (0.34, 0.58) };
        let body = Colour::lch(dice.range(low, high), dice.range(0.08, 0.18), own);
        let accent = Colour::lch(
            dice.range(low, high),
            dice.range(0.06, 0.18),
            own + dice.range(0.12, 0.4) * if dice.chance(0.5) { 1.0 } else { -1.0 },
        );
        let detail_lightness = if dark_ground { 0.25 } else { 0.95 };
        let detail = Colour::lch(detail_lightness, 0.04, own + dice.around(0.1));
        Self { ground, body, accent, detail, hue, dark_ground }
    }

    /// A colour for clutter, of any hue, between the ground and the drawing.
    fn stray(&self, dice: &mut Dice) -> Colour {
        let (low, high) = if self.dark_ground { (0.4, 0.75) } else { (0.5, 0.85) };
        Colour::lch(dice.range(low, high), dice.range(0.04, 0.15), self.hue + dice.unit())
    }
}

/// The finish of the figure.
struct Style {
    /// Edge width in pixels: 1 is crisp, more is out of focus.
    focus: f32,
    /// The direction of the light, in pixels.
    light: P,
    shadow: f32,
    shade: f32,
    /// Width of the contour in pixels; 0 for none.
    contour: f32,
    contour_dark: bool,
}

impl Style {
    fn draw(dice: &mut Dice) -> Self {
        let (sin, cos) = sin_cos(dice.range(0.55, 0.95));
        Self {
            focus: dice.range(0.9, 1.5),
            light: p(cos, sin) * dice.range(1.2, 2.2),
            shadow: dice.range(0.0, 0.22),
            shade: dice.range(0.05, 0.14),
            contour: if dice.chance(0.6) { dice.range(0.6, 1.2) } else { 0.0 },
            contour_dark: dice.chance(0.5),
        }
    }
}

/// Gradient, and over it one of several patterns in the third ground colour.
fn backdrop(canvas: &mut Canvas, palette: &Palette, dice: &mut Dice) {
    let turn = sin_cos(dice.unit());
    let slope = p(turn.1, turn.0) * (0.7 / SIDE as f32);
    let middle = p(SIDE as f32 / 2.0, SIDE as f32 / 2.0);
    let [from, to, _] = palette.ground;
    canvas.wash(|at, _| from.mix(to, ((at - middle).dot(slope) + 0.5).clamp(0.0, 1.0)));

    let third = palette.ground[2];
    let strength = dice.range(0.5, 1.0);
    let period = dice.range(4.0, 9.0);
    let grid = sin_cos(dice.unit());
    let origin = p(dice.range(0.0, 32.0), dice.range(0.0, 32.0));
    // Position in a turned grid of cells, from -0.5 to 0.5 in each.
    let cell = |at: P| {
        let q = (at - origin).turn(grid) * (1.0 / period);
        p(q.x - (q.x + 0.5).floor(), q.y - (q.y + 0.5).floor())
    };
    let mut weave = |pattern: &dyn Fn(P) -> f32| {
        canvas.wash(|at, under| under.mix(third, strength * pattern(at)));
    };
    match dice.below(6) {
        0 => {}
        1 => weave(&|at| cover((cell(at).x.abs() - 0.25) * period, 1.4)),
        2 => weave(&|at| cover(disc(cell(at), 0.28) * period, 1.4)),
        3 => weave(&|at| {
            let c = cell(at);
            cover((c.x.abs() - 0.25) * (c.y.abs() - 0.25) * period * 4.0, 1.4)
        }),
        4 => weave(&|at| cover((at - middle).turn(grid).y - origin.y * 0.3, 2.0)),
        _ => {
            let lattice: [f32; 49] = std::array::from_fn(|_| dice.unit());
            weave(&|at| clouds(&lattice, at * (6.0 / SIDE as f32)));
        }
    }
}

/// Smooth noise: the values of a 7 x 7 lattice, blended between its points.
fn clouds(lattice: &[f32; 49], at: P) -> f32 {
    let (x, y) = ((at.x as usize).min(5), (at.y as usize).min(5));
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(at.x - x as f32), ease(at.y - y as f32));
    let row = |y: usize| lattice[y * 7 + x] + (lattice[y * 7 + x + 1] - lattice[y * 7 + x]) * u;
    row(y) + (row(y + 1) - row(y)) * v
}

/// A small bit of clutter.
struct Scrap {
    centre: P,
    size: f32,
    turn: (f32, f32),
    kind: u32,
    colour: Colour,
    opacity: f32,
}

impl Scrap {
    fn draw(dice: &mut Dice, palette: &Palette) -> Self {
        Self {
            centre: p(dice.range(0.0, 32.0), dice.range(0.0, 32.0)),
            size: dice.range(1.0, 3.4),
            turn: sin_cos(dice.unit()),
            kind: dice.below(5),
            colour: palette.stray(dice),
            opacity: dice.range(0.5, 1.0),
        }
    }

    fn stamp(&self, canvas: &mut Canvas) {
        canvas.stamp(self.centre, self.size * 1.8 + 1.0, |at, under| {
            let q = (at - self.centre).turn(self.turn) * (1.0 / self.size);
            let distance = match self.kind {
                0 => disc(q, 1.0),
                1 => disc(q, 0.8).abs() - 0.3,
                2 => slab(q, p(0.9, 0.9)),
                3 => slab(q, p(1.6, 0.4)),
                _ => convex(q, [p(-1.0, 0.7), p(0.0, -1.1), p(1.0, 0.7)]),
            };
            under.mix(self.colour, self.opacity * cover(distance * self.size, 1.2))
        });
    }
}

/// The figure leaves no mark beyond this many pixels from its outline, not even its shadow.
const REACH: f32 = 6.0;

/// Shadow, body, accent, details, the shaded side, and the contour.
fn figure(canvas: &mut Canvas, drawing: Drawing, pose: &Pose, palette: &Palette, style: &Style) {
    let contour =
        palette.body.mix(Colour([if style.contour_dark { 0.15 } else { 0.97 }, 0.0, 0.0]), 0.85);
    let paint = |under: Colour, colour: Colour, distance: f32| {
        under.mix(colour, cover(distance, style.focus))
    };
    canvas.stamp(pose.centre, pose.radius * 1.5 + REACH, |at, under| {
        let sketch = pose.sketch(drawing, at);
        let outline = sketch.outline();
        if outline > REACH {
            return under;
        }
        let shadow = pose.sketch(drawing, at + style.light * 1.2).outline();
        let mut ink = under.lighter(-style.shadow * cover(shadow - 0.5, 3.0));
        if style.contour > 0.0 {
            ink = paint(ink, contour, outline - style.contour);
        }
        if outline > style.focus {
            return ink;
        }
        // The side away from the light: what the drawing, shifted towards the light, leaves bare.
        let lee = pose.sketch(drawing, at - style.light).outline();
        let slope = (at - pose.centre).dot(style.light) / pose.radius;
        let glow = 0.03 * slope - style.shade * (1.0 - cover(lee, style.focus));
        ink = paint(ink, palette.body.lighter(glow), sketch.body);
        ink = paint(ink, palette.accent.lighter(glow), sketch.accent);
        paint(ink, palette.detail, sketch.detail)
    });
}

/// Occlusion by a ribbon across the figure, beside its middle and far thinner than the figure.
fn ribbon(canvas: &mut Canvas, pose: &Pose, palette: &Palette, dice: &mut Dice) {
    let colour = palette.stray(dice);
    let (sin, cos) = sin_cos(dice.unit());
    let outward = p(cos, sin);
    let distance = pose.radius * dice.range(0.3, 0.9);
    let half_width = pose.radius * dice.range(0.07, 0.14);
    canvas.wash(|at, under| {
        let off = (at - pose.centre).dot(outward) - distance;
        under.mix(colour, cover(off.abs() - half_width, 1.2))
    });
}

/// Occlusion by a ball over the figure's rim.
fn ball(canvas: &mut Canvas, pose: &Pose, palette: &Palette, dice: &mut Dice) {
    let colour = palette.stray(dice);
    let (sin, cos) = sin_cos(dice.unit());
    let centre = pose.centre + p(cos, sin) * (pose.radius * dice.range(0.8, 1.1));
    let size = pose.radius * dice.range(0.2, 0.32);
    canvas.stamp(centre, size + 1.0, |at, under| {
        let q = at - centre;
        let gloss = colour.lighter(-0.06 * (q.x + q.y) / size);
        under.mix(gloss, cover(disc(q, size), 1.2))
    });
}

/// A pool of light somewhere, darkness towards the corners, and the exposure.
fn light(canvas: &mut Canvas, dice: &mut Dice) {
    let lamp = p(dice.range(2.0, 30.0), dice.range(2.0, 30.0));
    let contrast = dice.range(0.0, 0.22);
    let exposure = dice.range(0.9, 1.06);
    canvas.wash(|at, under| {
        let far = (at - lamp).dot(at - lamp) / 900.0;
        let gain = exposure * (1.0 + contrast * 0.3 - contrast * far.min(1.2));
        Colour(under.0.map(|v| v * gain))
    });
}
