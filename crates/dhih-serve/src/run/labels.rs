//! Converts the class numbers that `dhih-index` stores to the labels of the API, and class names to numbers.

use std::collections::HashMap;

use dhih_index::{Label as Stored, Labels};
use dhih_model::walk::nfc;

use crate::api::{Class, Label};
#[cfg(feature = "postgres")]
use crate::items::LabelShape;

/// The class names of a run, which may be empty.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    names: Vec<String>,
    /// The first class of each name, and of each name in Unicode normal form C unless another class has that as its name.
    numbers: HashMap<String, i64>,
}

impl Names {
    pub(crate) fn new(classes: &[String]) -> Self {
        let mut numbers = HashMap::with_capacity(classes.len());
        for (number, name) in (0..).zip(classes) {
            numbers.entry(name.clone()).or_insert(number);
        }
        for (number, name) in (0..).zip(classes) {
            numbers.entry(nfc(name).into_owned()).or_insert(number);
        }
        Self { names: classes.to_vec(), numbers }
    }

    /// The names in the order of the class numbers.
    pub(crate) fn all(&self) -> &[String] {
        &self.names
    }

    /// The number of classes with names.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The number of a class, given by its name or number.
    ///
    /// # Errors
    /// When there is no such class. The message lists those that exist.
    pub(crate) fn number(&self, label: &str) -> Result<i64, String> {
        if let Some(class) = self.named(label) {
            return Ok(class);
        }
        let number = label.parse::<i64>().ok().filter(|number| *number >= 0);
        let number =
            number.filter(|number| self.names.is_empty() || *number < self.names.len() as i64);
        number.ok_or_else(|| {
            let shown =
                self.names.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if self.names.len() > 20 { ", ..." } else { "" };
            match self.names.is_empty() {
                true => {
                    format!("{label:?} is no class: those of these items have numbers, from 0 on")
                }
                false => format!("{label:?} is no class of these items; there are {shown}{more}"),
            }
        })
    }

    /// The number of the class with this name, in any Unicode normal form.
    pub(crate) fn named(&self, label: &str) -> Option<i64> {
        let number = self.numbers.get(label).or_else(|| self.numbers.get(&*nfc(label)));
        number.copied()
    }

    /// The label of an indexed item.
    pub(crate) fn of_item(&self, label: Stored<'_>) -> Label {
        match label {
            Stored::Single(class) => self.one(class),
            Stored::MultiHot(hot) => self.many(hot),
            // `dhih-index` may add further kinds of labels.
            _ => Label::Many(Vec::new()),
        }
    }

    /// The label of a row of a codes file.
    pub(crate) fn of_row(&self, labels: Option<&Labels>, row: usize) -> Option<Label> {
        match labels? {
            Labels::Single(labels) => Some(self.one(*labels.get(row)?)),
            Labels::MultiHot { classes, values } => {
                Some(self.many(values.chunks_exact((*classes).max(1)).nth(row)?))
            }
            _ => None,
        }
    }

    /// The label of an item in a store, from the numbers of its classes.
    #[cfg(feature = "postgres")]
    pub(crate) fn of_classes(&self, shape: LabelShape, classes: &[i64]) -> Option<Label> {
        match shape {
            LabelShape::None => None,
            LabelShape::Single => classes.first().map(|&class| self.one(class)),
            LabelShape::MultiHot(_) => {
                Some(Label::Many(classes.iter().map(|&class| self.class(class)).collect()))
            }
        }
    }

    /// The label of a single class.
    fn one(&self, class: i64) -> Label {
        Label::One(self.class(class))
    }

    /// The label of a multi-hot vector: the classes whose byte is not zero.
    fn many(&self, hot: &[u8]) -> Label {
        let classes = (0..).zip(hot).filter(|&(_, &hot)| hot != 0);
        Label::Many(classes.map(|(class, _)| self.class(class)).collect())
    }

    fn class(&self, class: i64) -> Class {
        let name = usize::try_from(class).ok().and_then(|class| self.names.get(class));
        name.map_or(Class::Number(class), |name| Class::Name(name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_named_where_the_run_names_them() {
        let names = Names::new(&["ring".into(), "star".into()]);
        let single = Labels::Single(vec![1, 7, -1]);
        let multi = Labels::MultiHot { classes: 3, values: vec![1, 0, 1, 0, 0, 0] };
        let json = |labels, row| serde_json::to_string(&names.of_row(labels, row)).unwrap();
        assert_eq!(json(Some(&single), 0), r#""star""#);
        assert_eq!(json(Some(&single), 1), "7");
        assert_eq!(json(Some(&single), 2), "-1");
        assert_eq!(json(Some(&single), 3), "null");
        assert_eq!(json(Some(&multi), 0), r#"["ring",2]"#);
        assert_eq!(json(Some(&multi), 1), "[]");
        assert_eq!(json(Some(&multi), 2), "null");
        assert_eq!(json(None, 0), "null");
        assert_eq!((names.number("star"), names.number("0")), (Ok(1), Ok(0)));
        // macOS writes an accent as a separate character after the letter (normal form D).
        let accents = Names::new(&["star".into(), "Cafe\u{301}".into()]);
        assert_eq!((accents.named("Café"), accents.named("Cafe\u{301}")), (Some(1), Some(1)));
        for unknown in ["2", "-1", "moon"] {
            assert!(names.number(unknown).unwrap_err().contains("ring, star"));
        }
        assert_eq!(Names::new(&[]).number("7"), Ok(7));
        assert!(Names::new(&[]).number("-7").unwrap_err().contains("numbers"));
        let item = |label| serde_json::to_string(&names.of_item(label)).unwrap();
        assert_eq!(
            (item(Stored::Single(0)), item(Stored::MultiHot(&[0, 1]))),
            (r#""ring""#.into(), r#"["star"]"#.into())
        );
    }
}
