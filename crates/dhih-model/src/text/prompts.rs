//! Short captions of all kinds of pictures. The mean of their vectors is subtracted from the vector of each text before it is encoded.

/// What the captions describe: people, animals, plants, food, things, vehicles, buildings, landscapes, weather, rooms and events.
const SUBJECTS: [&str; 96] = [
    "a person",
    "a man",
    "a woman",
    "a child",
    "a baby",
    "a group of people",
    "a crowd",
    "a face",
    "a dog",
    "a cat",
    "a horse",
    "a cow",
    "a sheep",
    "a bird",
    "a duck",
    "a fish",
    "an insect",
    "a butterfly",
    "an elephant",
    "a bear",
    "a tree",
    "a forest",
    "a flower",
    "a garden",
    "grass",
    "leaves",
    "a mushroom",
    "a vegetable",
    "fruit",
    "an apple",
    "bread",
    "a cake",
    "a meal on a plate",
    "a cup of coffee",
    "a bottle",
    "a glass of wine",
    "a table",
    "a chair",
    "a bed",
    "a sofa",
    "a lamp",
    "a clock",
    "a book",
    "a newspaper",
    "a computer",
    "a phone",
    "a camera",
    "a television",
    "a bag",
    "a pair of shoes",
    "a dress",
    "a hat",
    "a toy",
    "a ball",
    "a musical instrument",
    "a tool",
    "a car",
    "a truck",
    "a bus",
    "a bicycle",
    "a motorcycle",
    "a train",
    "an aeroplane",
    "a boat",
    "a house",
    "a tall building",
    "a church",
    "a bridge",
    "a tower",
    "a castle",
    "a street",
    "a city at night",
    "a market",
    "a shop",
    "a sign with text",
    "a statue",
    "a painting",
    "a drawing",
    "a map",
    "a diagram",
    "a mountain",
    "a lake",
    "a river",
    "a waterfall",
    "the sea",
    "a beach",
    "a desert",
    "a field",
    "the sky with clouds",
    "a sunset",
    "snow",
    "rain",
    "a kitchen",
    "a wedding",
    "a concert",
    "people doing sport",
];

/// The captions.
pub fn prompts() -> impl ExactSizeIterator<Item = String> {
    SUBJECTS.iter().map(|subject| format!("a photo of {subject}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_caption_counts_twice() {
        let mut all: Vec<String> = prompts().collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), SUBJECTS.len());
    }
}
