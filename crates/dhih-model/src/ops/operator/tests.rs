//! Each operator is compared with its form in candle's operations, its gradients are compared with finite differences, and shapes that do not
//! fit are refused.

use candle_core::{DType, Device, Tensor, Var};

use super::super::testing::{assert_close, assert_finite_differences, variable};
use super::super::{Cpu, Engine, Tensors};
use super::*;

/// Asserts that the operator by each engine, with the gradients of its input and weights, agrees with candle's graph.
fn agrees(operator: &dyn Operator, dims: [usize; 4], variables: &[&Var]) {
    let x = variable("x", &dims);
    let y = operator.forward(x.as_tensor()).unwrap();
    let [height, width, channels] = operator.output([dims[1], dims[2], dims[3]]).unwrap();
    assert_eq!(y.dims(), [dims[0], height, width, channels]);
    let dy = variable("dy", y.dims()).as_tensor().detach();
    let expected = (&y * &dy).unwrap().backward().unwrap();
    let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let compare = |y_got: &Tensor, dx: &Tensor, gradients: &GradStore| {
        assert_close(y_got, &y.detach(), 1e-5);
        assert_close(dx, expected.get(&x).unwrap(), 1e-4);
        for variable in variables {
            let expected = expected.get(variable).unwrap();
            assert_close(gradients.get(variable).unwrap(), expected, 1e-4);
        }
    };
    let values = Value::new(flat(x.as_tensor()), &dims);
    let empty = || Tensor::zeros((), x.dtype(), x.device()).unwrap().backward().unwrap();

    let traced = <Cpu as Engine>::operator(operator, &values).unwrap();
    let mut gradients = empty();
    let dx = traced.back.back(flat(&dy), true, &mut gradients).unwrap().unwrap();
    let tensor = |values: Vec<f32>, dims: &[usize]| Tensor::from_vec(values, dims, x.device());
    let y_got = tensor(traced.y.values.to_vec(), &traced.y.dims).unwrap();
    compare(&y_got, &tensor(dx, &dims).unwrap(), &gradients);

    let traced = <Tensors as Engine>::operator(operator, &x.as_tensor().detach()).unwrap();
    let mut gradients = empty();
    let dx = traced.back.back(dy.clone(), true, &mut gradients).unwrap().unwrap();
    compare(&traced.y, &dx, &gradients);

    // Inference runs it on one thread, as here.
    let compiled = operator.compiled([dims[1], dims[2], dims[3]]).unwrap();
    let mut alone = vec![0.0; traced.y.elem_count()];
    compiled.run(&values.values, dims[0], &mut alone, false);
    assert_eq!(alone, flat(&y_got), "on one thread");
}

#[test]
fn all_agree_with_candles_graph() {
    let (w, b) = (variable("w", &[6]), variable("b", &[6]));
    let norm = LayerNorm { weight: w.as_tensor().clone(), bias: b.as_tensor().clone(), eps: 1e-5 };
    agrees(&norm, [3, 2, 5, 6], &[&w, &b]);
    let factors = variable("factors", &[6, 1, 1]);
    agrees(&Scale { weight: factors.as_tensor().clone() }, [3, 2, 5, 6], &[&factors]);
    agrees(&FirstToken, [3, 1, 5, 6], &[]);
    // Fewer tokens than a block of queries, exactly one block, and several blocks.
    for tokens in [5, 64, 150] {
        for causal in [false, true] {
            agrees(&Attention { heads: 2, causal }, [2, 1, tokens, 24], &[]);
        }
    }
    agrees(&Attention { heads: 1, causal: false }, [3, 2, 9, 51], &[]);
    let (p, w, b) = (variable("p", &[1, 1, 6]), variable("w", &[18, 6]), variable("b", &[18]));
    let (probe, weight, bias) =
        (p.as_tensor().clone(), w.as_tensor().clone(), b.as_tensor().clone());
    agrees(&Probe { probe, weight, bias, heads: 2 }, [3, 1, 19, 6], &[&p, &w, &b]);
}

#[test]
fn tokens_agree_with_and_without_those_that_are_learnt() {
    let class = variable("class", &[1, 1, 4]);
    let registers = variable("registers", &[1, 3, 4]);
    for (has_class, has_registers) in [(false, false), (true, false), (false, true), (true, true)] {
        let positions = variable("positions", &[1, 6 + usize::from(has_class), 4]);
        let tokens = Tokens {
            class: has_class.then(|| class.as_tensor().clone()),
            registers: has_registers.then(|| registers.as_tensor().clone()),
            positions: positions.as_tensor().clone(),
        };
        let mut variables = vec![&positions];
        variables.extend(has_class.then_some(&class));
        variables.extend(has_registers.then_some(&registers));
        agrees(&tokens, [2, 2, 3, 4], &variables);
    }
}

#[test]
fn gradients_of_attention_agree_with_finite_differences() {
    let x = variable("x", &[1, 1, 4, 12]);
    for causal in [false, true] {
        assert_finite_differences(&[&x], || Attention { heads: 2, causal }.forward(x.as_tensor()));
    }
}

#[test]
fn a_token_of_causal_attention_knows_none_behind_it() {
    // The last 5 of 70 tokens differ. There is more than one block of queries, so that the mask is tested in both.
    let (tokens, channels) = (70, 12);
    let x = variable("x", &[1, 1, tokens, channels]);
    let mut x = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let run = |x: &[f32]| {
        let mut y = vec![0.0; tokens * channels / 3];
        let attention = Attention { heads: 2, causal: true };
        attention.compiled([1, tokens, channels]).unwrap().run(x, 1, &mut y, false);
        y
    };
    let before = run(&x);
    x[65 * channels..].fill(3.0);
    let after = run(&x);
    let (same, others) = (65 * channels / 3, 5 * channels / 3);
    assert_eq!(before[..same], after[..same]);
    let changed = before[same..].iter().zip(&after[same..]).filter(|(a, b)| a != b).count();
    assert_eq!(changed, others, "all values of the last tokens are others");
    // The first token attends to itself alone, so that its output is its own value.
    assert_eq!(before[..channels / 3], x[2 * channels / 3..channels]);
}

/// 33 images of 225 tokens are 58 times 128 tokens and one more: products in pieces of 128 rows would leave one row alone, which the matrix library
/// sums in another order.
#[test]
fn the_attention_of_a_probe_does_not_depend_on_the_batch() {
    let (n, tokens, channels) = (33, 225, 24);
    let weight = |name: &str, dims: &[usize]| variable(name, dims).as_tensor().detach();
    let probe = Probe {
        probe: weight("p", &[1, 1, channels]),
        weight: weight("w", &[3 * channels, channels]),
        bias: weight("b", &[3 * channels]),
        heads: 2,
    };
    let x = variable("x", &[n, 1, tokens, channels]).flatten_all().unwrap();
    let x = x.to_vec1::<f32>().unwrap();
    let compiled = probe.compiled([1, tokens, channels]).unwrap();
    let run = |x: &[f32], n: usize, on_all: bool| {
        let mut y = vec![0.0; n * channels];
        compiled.run(x, n, &mut y, on_all);
        y
    };
    let together = run(&x, n, true);
    let images = x.chunks(tokens * channels).zip(together.chunks(channels));
    for (number, (image, expected)) in images.enumerate() {
        assert_eq!(run(image, 1, false), expected, "image {number}");
    }
}

/// In f16 a sum of ones stops at 2,048.
#[test]
fn shares_in_f16_are_those_in_f32() {
    let scores = Tensor::zeros((1, 4096), DType::F16, &Device::Cpu).unwrap();
    let shares = super::attention::shares(&scores).unwrap();
    assert_eq!(shares.dtype(), DType::F16);
    let shares = shares.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(shares[0], [1.0 / 4096.0; 4096]);
}

#[test]
fn large_scores_give_whole_shares() {
    // Each of the two tokens attends to the second one alone.
    let mut x = vec![0f32; 2 * 3];
    (x[0], x[3]) = (1e4, 1e4);
    (x[1], x[4]) = (-1e4, 1e4);
    (x[2], x[5]) = (3.0, 7.0);
    let mut y = [0.0; 2];
    Attention { heads: 1, causal: false }.compiled([1, 2, 3]).unwrap().run(&x, 1, &mut y, false);
    assert_eq!(y, [7.0, 7.0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let six = variable("w", &[6]).as_tensor().clone();
    let norm = LayerNorm { weight: six.clone(), bias: six.clone(), eps: 1e-5 };
    assert!(norm.output([2, 2, 5]).is_err());
    assert!(Scale { weight: six.clone() }.output([2, 2, 5]).is_err());
    assert!(Attention { heads: 4, causal: false }.output([1, 5, 18]).is_err());
    assert!(Attention { heads: 0, causal: false }.output([1, 5, 18]).is_err());
    assert!(FirstToken.output([0, 5, 3]).is_err());
    let probe = |heads| Probe {
        probe: six.clone(),
        weight: variable("w", &[18, 6]).as_tensor().clone(),
        bias: variable("b", &[18]).as_tensor().clone(),
        heads,
    };
    assert!(probe(2).output([1, 5, 6]).is_ok());
    assert!(probe(4).output([1, 5, 6]).is_err() && probe(0).output([1, 5, 6]).is_err());
    assert!(probe(2).output([1, 5, 5]).is_err() && probe(2).output([0, 5, 6]).is_err());
    let tokens = |class: Option<Tensor>, places| Tokens {
        class,
        registers: None,
        positions: variable("p", &[places, 6]).as_tensor().clone(),
    };
    assert!(tokens(None, 4).output([2, 2, 6]).is_ok());
    assert!(tokens(None, 5).output([2, 2, 6]).is_err());
    assert!(tokens(Some(six.clone()), 5).output([2, 2, 6]).is_ok());
    assert!(tokens(Some(six.clone()), 4).output([2, 2, 6]).is_err());
    assert!(tokens(Some(six.narrow(0, 0, 3).unwrap()), 5).output([2, 2, 6]).is_err());
    assert!(tokens(None, 4).output([2, 2, 5]).is_err());
}
