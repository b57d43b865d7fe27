//! Codecs trained on two views: codes on which the views agree, nested lengths, reproducibility, and what is refused.

use std::ops::Range;

use dhih_index::{CodeSet, Codes, Labels};
use rand::Rng;

use super::*;
use crate::evaluation::leave_one_out_map;

const DIMS: usize = 24;
const KINDS: usize = 6;

/// Two views of things of several kinds. Views share the first numbers, which tell the kinds apart. In the others, they differ as much as things
/// of different kinds do, and vectors vary most there.
struct Views {
    first: Array,
    second: Array,
    kinds: Vec<i64>,
}

struct Array(Vec<f32>, usize);

impl Rows for Array {
    fn len(&self) -> usize {
        self.0.len() / self.1
    }

    fn dims(&self) -> usize {
        self.1
    }

    fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> dhih_model::Result<()> {
        to.extend_from_slice(&self.0[rows.start * self.1..rows.end * self.1]);
        Ok(())
    }
}

impl Views {
    fn new(n: usize, seed: u64) -> Self {
        let mut rng = dhih_model::named_rng(seed, "views");
        let mut centre = dhih_model::named_rng(9, "kinds");
        let centres: Vec<f32> = (0..KINDS * 8).map(|_| centre.random_range(-1.0..1.0)).collect();
        let kinds: Vec<i64> = (0..n).map(|i| (i % KINDS) as i64).collect();
        let mut view = || {
            let mut values = Vec::new();
            for kind in &kinds {
                values.extend((0..DIMS).map(|dim| match dim {
                    0..8 => centres[*kind as usize * 8 + dim] + rng.random_range(-0.3..0.3f32),
                    _ => rng.random_range(-2.0..2.0),
                }));
            }
            Array(values, DIMS)
        };
        Self { first: view(), second: view(), kinds }
    }

    fn data(&self) -> TwoViews<'_> {
        TwoViews { rows: &self.first, others: Some(&self.second) }
    }

    /// The mAP of the codes of the first views among themselves.
    fn map(&self, codec: &Codec) -> f64 {
        let values = codec.encode(&self.first.0).unwrap();
        let mut set = CodeSet::new(Codes::from_real(codec.bits() as u32, &values).unwrap());
        set.labels = Some(Labels::Single(self.kinds.clone()));
        leave_one_out_map(&set).unwrap()
    }
}

fn config() -> ViewsConfig {
    let start = FitConfig { bits: 16, ..FitConfig::default() };
    ViewsConfig { start, epochs: 20, batch_size: 64, ..ViewsConfig::default() }
}

fn trained(views: &Views, config: &ViewsConfig) -> Result<Codec> {
    train_views(views.data(), config, Progress::Silent)
}

/// A fit sees where vectors vary most, and two views show what of that belongs to the thing.
#[test]
fn two_views_show_what_no_fit_sees() {
    let (views, others) = (Views::new(600, 1), Views::new(200, 2));
    let nested = vec![8];
    let mut config = config();
    config.start.nested = nested.clone();
    let codec = trained(&views, &config).unwrap();
    let fitted = fit(&views.first, &config.start, &mut |_| ()).unwrap();
    assert_eq!(
        (codec.config().method, codec.bits(), &codec.config().nested),
        (Method::Head, 16, &nested)
    );
    let (map, of_fit) = (others.map(&codec), others.map(&fitted));
    assert!(map > of_fit + 0.3, "{map}, fitted {of_fit}");
    let (map, of_fit) =
        (others.map(&codec.shortened(8).unwrap()), others.map(&fitted.shortened(8).unwrap()));
    assert!(map > of_fit + 0.2, "first 8 bits: {map}, fitted {of_fit}");
}

/// What is left of a vector is to have its code, so that each bit depends on many numbers.
#[test]
fn a_vector_without_some_numbers_is_its_own_other_view() {
    let (views, config) = (Views::new(600, 1), config());
    let data = TwoViews { others: None, ..views.data() };
    let codec = train_views(data, &config, Progress::Silent).unwrap();
    let again = train_views(data, &config, Progress::Silent).unwrap();
    assert_eq!(codec.sha256(), again.sha256());
    let fitted = fit(&views.first, &config.start, &mut |_| ()).unwrap();
    let kept = |codec: &Codec| {
        let mut rng = dhih_model::named_rng(3, "left out");
        let part = views.first.0.iter().map(|x| if rng.random_bool(0.3) { 0.0 } else { *x });
        let (whole, part) = (codec.encode(&views.first.0), codec.encode(&part.collect::<Vec<_>>()));
        let (whole, part) = (whole.unwrap(), part.unwrap());
        let same = whole.iter().zip(&part).filter(|(a, b)| (**a >= 0.0) == (**b >= 0.0)).count();
        same as f64 / whole.len() as f64
    };
    assert!(kept(&codec) > kept(&fitted), "{} of {}", kept(&codec), kept(&fitted));
}

#[test]
fn the_same_views_and_seed_give_the_same_codec() {
    let views = Views::new(200, 1);
    let of = |seed: u64| {
        let mut config = ViewsConfig { epochs: 2, ..config() };
        config.start.seed = seed;
        trained(&views, &config).unwrap().sha256().to_owned()
    };
    assert_eq!(of(0), of(0));
    assert_ne!(of(0), of(1));
}

#[test]
fn what_cannot_be_trained_on_is_refused() {
    let refused = |views: &Views, config: &ViewsConfig, part: &str| {
        let error = trained(views, config).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    };
    let with = |change: &dyn Fn(&mut ViewsConfig)| {
        let mut config = config();
        change(&mut config);
        config
    };
    let views = |change: &dyn Fn(&mut Views)| {
        let mut views = Views::new(40, 1);
        change(&mut views);
        views
    };
    let plain = views(&|_| ());
    refused(&plain, &with(&|c| c.epochs = 0), "epochs is 0");
    refused(&plain, &with(&|c| c.batch_size = 2), "batch_size is 2, expected at least 3");
    refused(&plain, &with(&|c| c.learning_rate = f64::NAN), "learning_rate is NaN");
    refused(&plain, &with(&|c| c.loss.distortion = 0.0), "distortion is 0");
    refused(&plain, &with(&|c| c.dropout = 1.0), "dropout is 1, expected 0 to below 1");
    refused(&plain, &with(&|c| c.start.bits = 25), "bits is 25, expected 1 to 24");
    refused(&plain, &with(&|c| c.start.nested = vec![16]), "nested is [16]");
    refused(&plain, &with(&|c| c.start.method = Method::Head), "a method that is fitted");
    let fewer = views(&|v| v.second.0.truncate(39 * DIMS));
    refused(&fewer, &config(), "the number of other views is 39, expected 40, one for each vector");
    let shorter = views(&|v| v.second = Array(vec![1.0; 40 * 7], 7));
    refused(&shorter, &config(), "the length of other views is 7, expected 24");
    let few = Views::new(15, 1);
    refused(&few, &config(), "there are 15, and 16 bits need at least as many");
    let equal = views(&|v| v.first.0.fill(0.5));
    refused(&equal, &config(), "they vary in 0 directions");
    let nan = views(&|v| v.first.0[3 * DIMS] = f32::NAN);
    refused(&nan, &config(), "vector 3 has a number that is not finite");
    let nan = views(&|v| v.second.0[5 * DIMS] = f32::INFINITY);
    refused(&nan, &config(), "of the other views, vector 5 has a number that is not finite");
    let zeros = views(&|v| v.second.0[5 * DIMS..6 * DIMS].fill(0.0));
    refused(&zeros, &config(), "of the other views, vector 5 has only zeros");
}

/// Columns that never vary have no gradient, and vectors of any scale train, too.
#[test]
fn constant_columns_equal_views_and_scales_are_no_difficulty() {
    let mut views = Views::new(120, 1);
    let fixed = |array: &mut Array| array.0.chunks_mut(DIMS).for_each(|row| row[20..].fill(0.7));
    fixed(&mut views.first);
    views.second = Array(views.first.0.clone(), DIMS);
    for (scale, normalize) in [(1.0, true), (1e-6, false), (1e6, false)] {
        let scaled = |array: &Array| Array(array.0.iter().map(|x| x * scale).collect(), DIMS);
        let views = Views {
            first: scaled(&views.first),
            second: scaled(&views.second),
            kinds: views.kinds.clone(),
        };
        let mut config = ViewsConfig { epochs: 3, ..config() };
        config.start.normalize = normalize;
        let values = trained(&views, &config).unwrap().encode(&views.first.0).unwrap();
        let codes = Codes::from_real(16, &values).unwrap();
        assert!((1..120).any(|row| codes.get(row) != codes.get(0)), "{scale}");
    }
}
