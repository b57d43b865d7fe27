//! Hash layers trained on labelled vectors: codes of held-out vectors by every loss, nested lengths, reproducibility, and settings that are
//! refused.

use std::ops::Range;

use dhih_index::{CodeSet, Codes};
use rand::Rng;

use super::*;
use crate::evaluation::leave_one_out_map;

/// Vectors around the corner points of their class. Most of their dimensions are noise, which is larger than the difference of classes.
struct Clouds {
    values: Vec<f32>,
    labels: Vec<i64>,
}

const DIMS: usize = 24;
const CLASSES: usize = 4;

impl Clouds {
    fn new(n: usize, seed: u64) -> Self {
        let mut rng = dhih_model::named_rng(seed, "clouds");
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for i in 0..n {
            let class = i % CLASSES;
            let noise = |dim: usize| if dim < 6 { 0.4 } else { 3.0 };
            let own = |dim: usize| if dim == class { 2.0 } else { 0.0 };
            values.extend((0..DIMS).map(|dim| {
                let drawn: f32 = rng.random_range(-1.0..1.0);
                own(dim) + noise(dim) * drawn + 0.5
            }));
            labels.push(class as i64);
        }
        Self { values, labels }
    }

    fn single(&self) -> Labels {
        Labels::Single(self.labels.clone())
    }

    /// The mAP of the codes among themselves.
    fn map(&self, codec: &Codec) -> f64 {
        let values = codec.encode(&self.values).unwrap();
        let codes = Codes::from_real(codec.bits() as u32, &values).unwrap();
        let mut set = CodeSet::new(codes);
        set.labels = Some(self.single());
        leave_one_out_map(&set).unwrap()
    }
}

impl Rows for Clouds {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn dims(&self) -> usize {
        DIMS
    }

    fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> dhih_model::Result<()> {
        to.extend_from_slice(&self.values[rows.start * DIMS..rows.end * DIMS]);
        Ok(())
    }
}

fn config(loss: &str) -> HeadConfig {
    HeadConfig {
        bits: 16,
        loss: loss.parse().unwrap(),
        hidden: 32,
        epochs: 12,
        batch_size: 32,
        learning_rate: 0.05,
        ..HeadConfig::default()
    }
}

fn trained(rows: &Clouds, labels: &Labels, config: &HeadConfig) -> Result<TrainedHead> {
    train_head(Labelled { rows, labels }, config, Progress::Silent)
}

#[test]
fn every_loss_tells_apart_classes_that_fitted_codes_do_not() {
    let (clouds, others) = (Clouds::new(480, 1), Clouds::new(200, 2));
    let fitted = dhih_model::codec::FitConfig { bits: 16, ..Default::default() };
    let fitted = dhih_model::codec::fit(&clouds, &fitted, &mut |_| ()).unwrap();
    let fitted = others.map(&fitted);
    for (loss, _) in Loss::ALL {
        let head = trained(&clouds, &clouds.single(), &config(loss)).unwrap();
        let map = others.map(&head.codec);
        assert!(map > 0.9 && map > fitted + 0.3, "{loss}: {map}, fitted {fitted}");
        assert_eq!((head.trained, head.validation), (480, None), "{loss}");
    }
}

#[test]
fn the_same_vectors_labels_and_seed_give_the_same_codec() {
    let clouds = Clouds::new(200, 1);
    let of = |labels: &Labels, seed: u64| {
        let config = HeadConfig { epochs: 2, seed, ..config("hi") };
        trained(&clouds, labels, &config).unwrap().codec.sha256().to_owned()
    };
    let first = of(&clouds.single(), 0);
    assert_eq!(of(&clouds.single(), 0), first);
    assert_ne!(of(&clouds.single(), 1), first);
    // Labels are names, and columns are another way to write them.
    let renamed = clouds.labels.iter().map(|label| 1_000_000_007 * label).collect();
    assert_eq!(of(&Labels::Single(renamed), 0), first);
    let columns = clouds
        .labels
        .iter()
        .flat_map(|label| (0..CLASSES as i64).map(move |class| u8::from(class == *label)));
    let columns = Labels::MultiHot { classes: CLASSES, values: columns.collect() };
    assert_eq!(of(&columns, 0), first);
}

#[test]
fn the_first_bits_are_trained_to_be_codes_of_their_own() {
    let (clouds, others) = (Clouds::new(480, 1), Clouds::new(200, 2));
    for loss in ["hi", "csq", "dpsh"] {
        let config = HeadConfig { nested: vec![4, 8], ..config(loss) };
        let codec = trained(&clouds, &clouds.single(), &config).unwrap().codec;
        let of = |bits: usize| others.map(&codec.shortened(bits).unwrap());
        assert!(
            of(4) > 0.8 && of(8) > 0.9 && of(16) > 0.9,
            "{loss}: {} {} {}",
            of(4),
            of(8),
            of(16)
        );
    }
}

/// Vectors without a label must neither train nor validate: these would turn every sum into NaN.
#[test]
fn vectors_without_a_label_are_left_out() {
    let mut clouds = Clouds::new(200, 1);
    for row in [0, 77, 199] {
        clouds.labels[row] = Labels::NONE;
        clouds.values[row * DIMS] = f32::NAN;
    }
    let config = HeadConfig { validation: 0.25, ..config("hi") };
    let head = trained(&clouds, &clouds.single(), &config).unwrap();
    let Validation { map, accuracy } = head.validation.unwrap();
    assert_eq!(head.trained, 197 - 49);
    assert!(map > 0.8 && accuracy.unwrap() > 0.8, "{map} {accuracy:?}");
    let pairwise = HeadConfig { loss: "dpsh".parse().unwrap(), ..config };
    let validation = trained(&clouds, &clouds.single(), &pairwise).unwrap().validation.unwrap();
    assert_eq!(validation.accuracy, None);
}

#[test]
fn what_cannot_be_trained_on_is_refused() {
    let clouds = Clouds::new(40, 1);
    let refused = |labels: Labels, config: HeadConfig, part: &str| {
        let error = trained(&clouds, &labels, &config).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    };
    let of = |change: &dyn Fn(&mut Vec<i64>)| {
        let mut labels = clouds.labels.clone();
        change(&mut labels);
        Labels::Single(labels)
    };
    let plain = || config("hi");
    refused(of(&|l| l.truncate(39)), plain(), "number of labels is 39, expected 40, one for each");
    refused(of(&|l| l.fill(3)), plain(), "number of classes is 1, expected at least 2");
    refused(of(&|l| l[4] = -2), plain(), "label is -2, expected a class from 0 on");
    refused(of(&|l| l[2..].fill(-1)), plain(), "to train on is 2, expected at least 3");
    let with = |change: &dyn Fn(&mut HeadConfig)| {
        let mut config = plain();
        change(&mut config);
        config
    };
    let labels = || clouds.single();
    refused(labels(), with(&|c| c.bits = 0), "bits is 0");
    refused(labels(), with(&|c| c.epochs = 0), "epochs is 0");
    refused(labels(), with(&|c| c.batch_size = 2), "batch_size is 2, expected at least 3");
    refused(labels(), with(&|c| c.learning_rate = f64::NAN), "learning_rate is NaN");
    refused(labels(), with(&|c| c.validation = 1.0), "validation is 1");
    refused(labels(), with(&|c| c.nested = vec![16]), "nested is [16]");
    refused(labels(), with(&|c| c.loss = "hii".parse().unwrap()), "did you mean \"hi\"");
    let smoothed = HeadConfig { label_smoothing: 0.1, ..config("dpsh") };
    refused(labels(), smoothed, "label_smoothing is 0.1");
    let steep = HeadConfig { learning_rate: 1e30, ..config("dpsh") };
    let error = trained(&clouds, &labels(), &steep).err().unwrap();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
}
