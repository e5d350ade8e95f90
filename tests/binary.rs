//! Binary cross-entropy by the Rust API: the same bits by every way, in place, errors, interruption.

use softlane::{
    Cotangent, Element, Error, Input, Isa, Options, Reduction, View, ViewMut, Weighting,
    binary_cross_entropy, binary_cross_entropy_value_and_grad,
};

/// Numbers from -1 to 1, without a random number generator.
fn numbers(count: usize) -> Vec<f64> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn weighting(reduction: Reduction) -> Weighting<'static> {
    Weighting { reduction, ..Weighting::default() }
}

/// The sum of the losses, and the gradients.
fn run<T: Element + Default>(isa: Isa, threads: usize, x: &[T], t: &[T]) -> (f64, Vec<T>) {
    let (mut loss, mut dx) = ([0.0_f64], x.to_vec());
    let shape = [x.len()];
    let options = Options { isa: Some(isa), threads, ..Options::default() };
    binary_cross_entropy_value_and_grad(
        Input::InPlace,
        &View::new(t, &shape).unwrap(),
        &weighting(Reduction::Sum),
        Cotangent::Number(0.75),
        &mut ViewMut::new(&mut loss, &[]).unwrap(),
        &mut ViewMut::new(&mut dx, &shape).unwrap(),
        &options,
    )
    .unwrap();
    (loss[0], dx)
}

#[test]
fn every_instruction_set_and_any_number_of_threads_give_the_same_bits() {
    for count in [1, 15, 16, 17, 4096, 4097, 300_001] {
        let x: Vec<f64> = numbers(count).iter().map(|x| 30.0 * x).collect();
        let t: Vec<f64> = numbers(count).iter().map(|x| x.abs()).rev().collect();
        let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let (x32, t32) = (narrow(&x), narrow(&t));
        let (expected, expected32) = (run(Isa::Portable, 1, &x, &t), run(Isa::Portable, 1, &x32, &t32));
        for isa in Isa::available() {
            for threads in [1, 2, 3] {
                assert!(run(isa, threads, &x, &t) == expected, "{} {threads} {count}", isa.name());
                assert!(run(isa, threads, &x32, &t32) == expected32, "{} {threads} {count}", isa.name());
            }
        }
    }
}

#[test]
fn the_loss_is_that_of_the_formula() {
    let x: Vec<f64> = numbers(5000).iter().map(|x| 10.0 * x).collect();
    let t: Vec<f64> = numbers(5000).iter().map(|x| x.abs()).collect();
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let exact: f64 = x.iter().zip(&t).map(|(&x, &t)| t * softplus(-x) + (1.0 - t) * softplus(x)).sum();
    let (loss, dx) = run(Isa::available()[0], 1, &x, &t);
    assert!((loss - exact).abs() < 1e-12 * exact, "{loss} {exact}");
    for ((&x, &t), dx) in x.iter().zip(&t).zip(dx) {
        assert!((dx - 0.75 * (1.0 / (1.0 + (-x).exp()) - t)).abs() < 1e-15);
    }
}

#[test]
fn bad_targets_and_weights_are_named_and_nothing_is_written() {
    let (x, mut dx, mut loss) = ([0.0_f32; 6], [7.0_f32; 6], [7.0_f32; 1]);
    let mut outcome = |t: &[f32], weight: &[f32], shape: &[usize]| {
        let weights = [weight.len()];
        let (t, weight) = (View::new(t, shape).unwrap(), View::new(weight, &weights).unwrap());
        let weighting = Weighting { weight: Some(&weight), ..Weighting::default() };
        let result = binary_cross_entropy_value_and_grad(
            Input::View(View::new(&x, &[2, 3]).unwrap()),
            &t,
            &weighting,
            Cotangent::Number(1.0),
            &mut ViewMut::new(&mut loss, &[]).unwrap(),
            &mut ViewMut::new(&mut dx, &[2, 3]).unwrap(),
            &Options::default(),
        );
        assert_eq!((loss, dx), ([7.0], [7.0; 6]));
        result.unwrap_err()
    };
    let element = |argument, want, got, position: &[usize]| Error::Element {
        argument,
        want,
        got,
        position: position.to_vec(),
    };
    assert_eq!(
        outcome(&[0.0, 1.0, 0.0, 0.0, 1.5, 2.0], &[1.0], &[2, 3]),
        element("targets", "from 0 to 1", 1.5, &[1, 1])
    );
    assert_eq!(
        outcome(&[1.0; 6], &[1.0, 1.0, -0.5], &[2, 3]),
        element("weight", "finite and at least 0", -0.5, &[2])
    );
    assert_eq!(
        outcome(&[1.0; 6], &[1.0, 1.0], &[2, 3]),
        Error::Broadcast { argument: "weight", got: vec![2], want: vec![2, 3] }
    );
    assert_eq!(
        outcome(&[1.0; 6], &[1.0], &[3, 2]),
        Error::ShapeMismatch { argument: "targets", got: vec![3, 2], want: vec![2, 3] }
    );
}

#[test]
fn a_caller_who_says_no_is_heard() {
    let (x, t) = (vec![0.0_f32; 1 << 25], vec![1.0_f32; 1 << 25]);
    let shape = [x.len()];
    let options = Options { keep_going: &|| false, ..Options::default() };
    let outcome = binary_cross_entropy(
        &View::new(&x, &shape).unwrap(),
        &View::new(&t, &shape).unwrap(),
        &weighting(Reduction::Mean),
        &mut ViewMut::new(&mut [0.0_f32], &[]).unwrap(),
        &options,
    );
    assert_eq!(outcome, Err(Error::Interrupted));
}
