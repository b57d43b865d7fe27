//! Texts to token numbers, by the `tokenizer.json` that is published beside the weights of a text tower.

use std::path::Path;

use tokenizers::{Encoding, Tokenizer};

use super::config::{TextConfig, TextFamily};
use crate::error::{Error, Result};

/// The longest text, in bytes of UTF-8: many times as long as the context of a tower.
pub const MAX_TEXT_BYTES: usize = 4096;

/// The largest tokenizer file, in bytes. Those of CLIP and SigLIP have 2 to 3 MB.
const MAX_FILE_BYTES: usize = 64 << 20;

/// A tokenizer, with the preprocessing of texts and the padding of its family. Threads may share it.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    family: TextFamily,
    context: usize,
    /// The token before a text.
    start: Option<u32>,
    /// The token behind a text.
    end: u32,
    json: String,
}

impl TextTokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Tokenizer`] where it is not a tokenizer, or not one of this tower.
    pub fn read(path: &Path, config: &TextConfig) -> Result<Self> {
        Self::from_bytes(&std::fs::read(path).map_err(Error::io(path))?, config, path)
    }

    /// As [`Self::read`], from the content of a file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_bytes(bytes: &[u8], config: &TextConfig, path: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::Tokenizer { path: path.to_owned(), reason };
        if bytes.len() > MAX_FILE_BYTES {
            return Err(wrong(format!("it has more than {MAX_FILE_BYTES} bytes")));
        }
        let json = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
        let cure = "give the tokenizer.json that is published with the weights";
        let mut tokenizer =
            Tokenizer::from_bytes(bytes).map_err(|error| wrong(format!("{error}; {cure}")))?;
        // Truncation and padding are done here, whatever the file says.
        tokenizer.with_truncation(None).map_err(|error| wrong(error.to_string()))?;
        tokenizer.with_padding(None);
        // The name of a special token within a text is ordinary text.
        tokenizer.set_encode_special_tokens(true);
        let TextConfig { family, vocabulary, context, .. } = *config;
        let largest = tokenizer.get_vocab(true).into_values().max();
        if largest.is_none_or(|largest| largest as usize >= vocabulary) {
            let got = largest.map_or_else(|| "none".to_owned(), |largest| largest.to_string());
            let reason = format!(
                "its last token is {got}, and the text tower has tokens up to {}; {cure}",
                vocabulary - 1
            );
            return Err(wrong(reason));
        }
        let special = |name: &str| {
            let missing = || wrong(format!("it has no token {name}; {cure}"));
            tokenizer.token_to_id(name).ok_or_else(missing)
        };
        let (start, end) = match family {
            TextFamily::Clip => (Some(special("<|startoftext|>")?), special("<|endoftext|>")?),
            TextFamily::Siglip => (None, special("</s>")?),
        };
        Ok(Self { tokenizer, family, context, start, end, json: json.to_owned() })
    }

    /// The token at the end of a text.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// The content of its file.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The tokens of a text, including those at its start and end. A text that is too long for the context loses its last tokens
    /// ([`Self::left_out`]), but keeps the end token. Texts for SigLIP are padded to the length of the context.
    ///
    /// # Errors
    /// [`Error::Text`] where the text is empty or has more than [`MAX_TEXT_BYTES`].
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        let encoded = self.all(text)?;
        let ids = encoded.get_ids().iter().take(self.room()).copied();
        let mut tokens: Vec<u32> = self.start.into_iter().chain(ids).collect();
        match self.family {
            TextFamily::Clip => tokens.push(self.end),
            TextFamily::Siglip => tokens.resize(self.context, self.end),
        }
        Ok(tokens)
    }

    /// The number of tokens at the end of a text that [`Self::tokens`] leaves out, because the context has no room for them.
    ///
    /// # Errors
    /// As [`Self::tokens`].
    pub fn left_out(&self, text: &str) -> Result<usize> {
        Ok(self.all(text)?.len().saturating_sub(self.room()))
    }

    /// The tokens that the context has room for between start and end.
    fn room(&self) -> usize {
        self.context - 1 - usize::from(self.start.is_some())
    }

    /// All tokens of a text, without those at its start and end.
    fn all(&self, text: &str) -> Result<Encoding> {
        let unusable = |reason: String| Error::Text { reason };
        if text.len() > MAX_TEXT_BYTES {
            let reason = format!("it has {} bytes; give at most {MAX_TEXT_BYTES}", text.len());
            return Err(unusable(reason));
        }
        if text.trim().is_empty() {
            return Err(unusable("it is empty".to_owned()));
        }
        let text = match self.family {
            TextFamily::Clip => text.to_owned(),
            TextFamily::Siglip => canonical(text),
        };
        let encoded = self.tokenizer.encode_fast(text, false);
        let encoded = encoded.map_err(|error| unusable(error.to_string()))?;
        if encoded.is_empty() {
            return Err(unusable("it has no word".to_owned()));
        }
        Ok(encoded)
    }
}

impl std::fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextTokenizer").field("family", &self.family).finish_non_exhaustive()
    }
}

/// Lower case, without ASCII punctuation, and with one space between words, as in the training of SigLIP.
fn canonical(text: &str) -> String {
    let lower = text.to_lowercase();
    let plain: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}
