//! Deep highly interrelated hashing: backbones, hash layer, losses and the encoder, on candle.
