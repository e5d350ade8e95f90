//! softmax and log_softmax along rows in memory: the passes, and the loop that runs three of them at once.
#![forbid(unsafe_code)]

use super::group::{Group, grouped_rows};
use super::{Softmax, rescaled};
use crate::element::WideScalar;
use crate::kernels::{LEAST_GROUP, Op, Rows, fold_max, max_from, max_pass, row_apart};
use crate::math::exp::{Beside, ExpConstants, RowShift, Shift};
use crate::math::sum::LaneSum;
use crate::simd::{Row, RowIo, Simd, Wide};

/// An operation whose rows go through that loop.
pub(super) trait Piped<E: ExpConstants, const SHORT: bool>: Op<E, 1> {
    /// Whether results are made of the exponentials, which are kept in the output, or of the inputs.
    const KEEPS: bool;

    fn softmax(&self) -> &Softmax<E, SHORT>;

    /// What all results of a row, by its number, are made with, given its maximum and the sum of its exponentials; `None` where the row
    /// is NaN throughout.
    fn settled<S: Wide<E>>(
        &self,
        s: S,
        row: (RowIo<'_, E, 1>, usize),
        max: E,
        shift: &Shift<S::V>,
        sum: E::Wide,
    ) -> Option<[E; 2]>;

    /// The longest rows that [go in groups](Op::GROUPED), in vectors, where exponentials have no [loop of their own](Simd::EXP_RUNS), as
    /// with AVX-512: the loop of three rows is faster for longer ones.
    const LONGEST_GROUP: usize = if Self::GROUPED < 28 { Self::GROUPED } else { 28 };

    /// The same of rows, one a lane, if [there are such](Op::GROUPED); NaN where a row is NaN throughout.
    fn settled_group<S: Wide<E>, R: Rows<E, 1>>(&self, _: S, _: &Group<'_, E, R>) -> [S::V; 2] {
        unreachable!("rows of this operation are not grouped")
    }

    /// Whether results are made as a [run](Beside) makes them.
    fn runs(&self) -> bool {
        true
    }

    /// The results of a vector of exponentials or inputs.
    fn result<S: Simd<E>>(&self, s: S, x: S::V, with: (S::V, S::V)) -> S::V;
}

impl<E: ExpConstants, const SHORT: bool> Softmax<E, SHORT> {
    /// The exponentials of a chunk, which is first brought within reach if need be, added up lane by lane; and written, if there is an
    /// output.
    #[inline(always)]
    pub(super) fn exp_sums<S: Wide<E>>(
        &self,
        s: S,
        row: Row<'_, E>,
        rescale: Option<[E; 2]>,
        shift: &RowShift<S::V>,
        output: Option<RowIo<'_, E, 1>>,
    ) -> S::W {
        if row.len() <= E::LANES {
            return self.exp_sum_of_one(s, row, rescale, shift, output);
        }
        let mut sum = LaneSum::<_, SHORT>::new(s);
        if const { S::EXP_RUNS && !SHORT } {
            let mut done = 0;
            if rescale.is_none() {
                (done, _) = self.exp.row_run(s, shift, (row, output), None, &mut sum);
            }
            self.exp_sum_from::<S, true>(s, row, done, rescale, shift, output, &mut sum);
        } else {
            self.exp_sum_from::<S, false>(s, row, 0, rescale, shift, output, &mut sum);
        }
        sum.widen(s)
    }

    /// The exponentials of a chunk of one vector or less, added up; and written, if there is an output.
    #[inline(always)]
    fn exp_sum_of_one<S: Wide<E>>(
        &self,
        s: S,
        row: Row<'_, E>,
        rescale: Option<[E; 2]>,
        shift: &RowShift<S::V>,
        output: Option<RowIo<'_, E, 1>>,
    ) -> S::W {
        let x = if row.rest() > 0 { row.load_rest(s, E::NEG_INFINITY) } else { row.load(s, 0) };
        let e = self.exp.row_exp(s, shift, rescaled(s, rescale, x));
        if let Some(output) = output {
            if row.rest() > 0 { output.store_rest(s, e.value) } else { output.store(s, 0, e.value) }
        }
        self.exp.widened(s, e)
    }

    /// The exponentials from vector `i` on of a chunk, added to `sum`; and written, if there is an output. If `FEW`, there are
    /// hardly any, or rarely.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn exp_sum_from<S: Wide<E>, const FEW: bool>(
        &self,
        s: S,
        row: Row<'_, E>,
        mut i: usize,
        rescale: Option<[E; 2]>,
        shift: &RowShift<S::V>,
        output: Option<RowIo<'_, E, 1>>,
        sum: &mut LaneSum<S::V, SHORT>,
    ) {
        // Four at a time, so that the scheduler sees four chains side by side.
        while !FEW && i + 4 <= row.vectors() {
            let mut x = row.load4(s, i);
            for x in &mut x {
                *x = rescaled(s, rescale, *x);
            }
            let e = self.exp.row_exps(s, shift, x);
            if let Some(output) = output {
                output.prefetch_next4(s, i);
                output.store4(s, i, [e[0].value, e[1].value, e[2].value, e[3].value]);
            }
            sum.add4(s, e);
            i += 4;
        }
        while i < row.vectors() {
            let e = self.exp.row_exp(s, shift, rescaled(s, rescale, row.load(s, i)));
            if let Some(output) = output {
                output.store(s, i, e.value);
            }
            sum.add(s, e);
            i += 1;
        }
        if row.rest() > 0 {
            let x = row.load_rest(s, E::NEG_INFINITY);
            let e = self.exp.row_exp(s, shift, rescaled(s, rescale, x));
            if let Some(output) = output {
                output.store_rest(s, e.value);
            }
            sum.add(s, e);
        }
    }

    /// The sum of the exponentials of a row; they are written, if they are kept.
    #[inline(always)]
    pub(super) fn row_sum<S: Wide<E>>(
        &self,
        s: S,
        row: RowIo<'_, E, 1>,
        shift: &RowShift<S::V>,
        keeps: bool,
    ) -> E::Wide {
        let mut sum = E::Wide::default();
        let mut start = 0;
        while start < row.len() {
            let chunk = row.part(start, E::CHUNK);
            let part = s.wide_total(self.exp_sums(s, chunk.input(0), None, shift, keeps.then_some(chunk)));
            sum = if start == 0 { part } else { sum.add(part) };
            start += E::CHUNK;
        }
        sum
    }
}

/// The longest rows that go in groups, in vectors.
const fn longest_group<E: ExpConstants, P: Piped<E, SHORT>, S: Simd<E>, const SHORT: bool>(
    are_far: bool,
) -> usize {
    // Rows in groups are rows in turn.
    assert!(P::GROUPED * E::LANES <= E::CHUNK / 4 && P::LONGEST_GROUP <= P::GROUPED);
    match S::EXP_RUNS {
        true if are_far && P::GROUPED > LONGEST_FAR => LONGEST_FAR,
        true => P::GROUPED,
        false if !SHORT && S::FOUR_AT_ONCE => P::LONGEST_GROUP,
        false => 0,
    }
}

/// Where exponentials have a loop of their own, longer rows from beyond the second cache are faster by the loop of three, vectors again.
const LONGEST_FAR: usize = 8;

/// Rows; those of more than [`STORED_CHUNKS`](super::STORED_CHUNKS) by sweeps.
///
/// One loop takes the exponentials of a row, writes the results of the row before and seeks the maximum of the row
/// after: the first keeps the arithmetic busy, the others the memory.
#[inline(always)]
pub(super) fn piped_rows<
    E: ExpConstants,
    P: Piped<E, SHORT>,
    S: Wide<E>,
    R: Rows<E, 1>,
    const SHORT: bool,
>(
    p: &P,
    s: S,
    rows: &R,
) {
    let softmax = p.softmax();
    let (count, are_far) = (rows.count(), rows.are_far());
    if count == 0 {
        return;
    }
    let mut row = rows.get(0);
    if S::BY_CALLS || row.len() > Softmax::<E>::STORED {
        for i in 0..count {
            row_apart(p, s, rows.get(i), rows.lane(i));
        }
        return;
    }
    // They lie in the nearest cache, and a run leaves nothing idle that the others could use: one after another.
    let in_turn = const { S::EXP_RUNS && !SHORT } && row.len() <= E::CHUNK / 4 && !are_far;
    let longest = match are_far {
        true => const { longest_group::<E, P, S, SHORT>(true) * E::LANES },
        false => const { longest_group::<E, P, S, SHORT>(false) * E::LANES },
    };
    let fits = row.len() > 3 * E::LANES && row.len() <= longest;
    if longest > 0 && p.is_grouped() && fits && count >= LEAST_GROUP {
        return grouped_rows(p, s, rows);
    }
    let mut max = max_pass(s, row.input(0));
    // The row before, whose results are still to be written, and what they are made with.
    let mut before: Option<(RowIo<'_, E, 1>, [E; 2])> = None;
    for i in 1..=count {
        // After the last row the loop of three seeks in vain, in that row.
        let after = if i < count { rows.get(i) } else { row };
        let is_ordinary = softmax.exp.is_ordinary(max);
        let row_max = max;
        let shift = softmax.exp.shift(s, s.splat(max));
        let row_shift = softmax.exp.row_shift(s, &shift);
        let mut found = None;
        match before {
            Some(before) if is_ordinary && row.len() > E::LANES && !in_turn => {
                let (sum, next) = fused_pass(p, s, row, &row_shift, before, after.input(0), are_far);
                max = next;
                found = Some(sum);
            }
            _ => {
                // First what waits for nothing: the results wait for a sum, and its exponentials for a maximum, some hundred cycles.
                if i < count {
                    max = max_pass(s, after.input(0));
                }
                if let Some((before, with)) = before {
                    result_pass(p, s, before, with);
                }
                if is_ordinary {
                    found = Some(softmax.row_sum(s, row, &row_shift, P::KEEPS));
                }
            }
        }
        before = match found {
            Some(sum) => match p.settled(s, (row, rows.lane(i - 1)), row_max, &shift, sum) {
                Some(with) => Some((row, with)),
                None => {
                    row.fill(E::NAN);
                    None
                }
            },
            None => {
                row_apart(p, s, row, rows.lane(i - 1));
                None
            }
        };
        row = after;
    }
    if let Some((before, with)) = before {
        result_pass(p, s, before, with);
    }
}

/// The sum of the exponentials of a row, and the maximum of the row `after`; the results of the row `before` are
/// written.
#[inline(always)]
fn fused_pass<E: ExpConstants, P: Piped<E, SHORT>, S: Wide<E>, const SHORT: bool>(
    p: &P,
    s: S,
    row: RowIo<'_, E, 1>,
    shift: &RowShift<S::V>,
    (before, with): (RowIo<'_, E, 1>, [E; 2]),
    after: Row<'_, E>,
    are_far: bool,
) -> (E::Wide, E) {
    let with = (s.splat(with[0]), s.splat(with[1]));
    let mut max = [s.splat(E::NEG_INFINITY); 4];
    let mut total = E::Wide::default();
    if row.len() <= E::CHUNK {
        total = fused_chunk(p, s, row, shift, (before, with), (after, &mut max), are_far);
    } else {
        let mut start = 0;
        while start < row.len() {
            let before = before.part(start, E::CHUNK);
            let after = after.part(start, E::CHUNK);
            let chunk = row.part(start, E::CHUNK);
            total = total.add(fused_chunk(p, s, chunk, shift, (before, with), (after, &mut max), are_far));
            start += E::CHUNK;
        }
    }
    (total, fold_max(s, max))
}

/// [`fused_pass`] on one chunk of each row.
#[inline(always)]
fn fused_chunk<E: ExpConstants, P: Piped<E, SHORT>, S: Wide<E>, const SHORT: bool>(
    p: &P,
    s: S,
    row: RowIo<'_, E, 1>,
    shift: &RowShift<S::V>,
    (before, with): (RowIo<'_, E, 1>, (S::V, S::V)),
    (after, max): (Row<'_, E>, &mut [S::V; 4]),
    are_far: bool,
) -> E::Wide {
    let (softmax, x) = (p.softmax(), row.input(0));
    if x.len() <= E::LANES {
        // The end of a row of several chunks, which is added up as it is in a pass of its own.
        result_from(p, s, before, 0, with);
        max_from(s, after, 0, max);
        let kept = if P::KEEPS { Some(row) } else { None };
        return s.wide_total(softmax.exp_sums(s, x, None, shift, kept));
    }
    // Where a row begins matters to its sum alone: the others go by cache lines.
    let [head, before] = before.split_at_line();
    result_from(p, s, head, 0, with);
    let [head, after] = after.split_at_line();
    max_from(s, head, 0, max);
    let e = sources::<E, P, SHORT>(before);
    let together = x.vectors().min(e.vectors()).min(after.vectors());
    let mut sum = LaneSum::<_, SHORT>::new(s);
    let mut i = 0;
    if p.runs() && !are_far {
        let kept = if P::KEEPS { Some(row) } else { None };
        let beside = Beside { before, with, after };
        let (done, found) = softmax.exp.row_run(s, shift, (x, kept), Some(beside), &mut sum);
        max[0] = s.max(found, max[0]);
        i = done;
    }
    while i + 4 <= together {
        let mut results = e.load4(s, i);
        for e in &mut results {
            *e = p.result(s, *e, with);
        }
        before.store4(s, i, results);
        let next = after.load4(s, i);
        for k in 0..4 {
            max[k] = s.max(next[k], max[k]);
        }
        let terms = softmax.exp.row_exps(s, shift, x.load4(s, i));
        if are_far {
            row.prefetch_output4(s, i);
            after.prefetch_next4(s, i);
        }
        if P::KEEPS {
            row.store4(s, i, [terms[0].value, terms[1].value, terms[2].value, terms[3].value]);
        }
        sum.add4(s, terms);
        i += 4;
    }
    let kept = P::KEEPS.then_some(row);
    if const { SHORT || S::FOUR_AT_ONCE } {
        softmax.exp_sum_from::<S, false>(s, x, i, None, shift, kept, &mut sum);
    } else {
        softmax.exp_sum_from::<S, true>(s, x, i, None, shift, kept, &mut sum);
    }
    result_from(p, s, before, i, with);
    max_from(s, after, i, max);
    s.wide_total(sum.widen(s))
}

/// What the results of a row are made of.
#[inline(always)]
fn sources<'a, E: ExpConstants, P: Piped<E, SHORT>, const SHORT: bool>(row: RowIo<'a, E, 1>) -> Row<'a, E> {
    if P::KEEPS { row.output() } else { row.input(0) }
}

/// The results of a row.
#[inline(always)]
fn result_pass<E: ExpConstants, P: Piped<E, SHORT>, S: Wide<E>, const SHORT: bool>(
    p: &P,
    s: S,
    row: RowIo<'_, E, 1>,
    with: [E; 2],
) {
    let with = (s.splat(with[0]), s.splat(with[1]));
    let [head, row] = row.split_at_line();
    result_from(p, s, head, 0, with);
    result_from(p, s, row, 0, with);
}

/// The results from vector `i` on.
#[inline(always)]
pub(super) fn result_from<E: ExpConstants, P: Piped<E, SHORT>, S: Wide<E>, const SHORT: bool>(
    p: &P,
    s: S,
    row: RowIo<'_, E, 1>,
    mut i: usize,
    with: (S::V, S::V),
) {
    let e = sources::<E, P, SHORT>(row);
    while i < row.vectors() {
        row.store(s, i, p.result(s, e.load(s, i), with));
        i += 1;
    }
    if row.rest() > 0 {
        row.store_rest(s, p.result(s, e.load_rest(s, E::ZERO), with));
    }
}
