//! Sums down the columns of a panel, with the bits that they have along a row.
#![forbid(unsafe_code)]

use crate::element::Compute;
use crate::simd::Wide;

/// The terms of a sum down the columns of a panel, row by row.
pub(crate) trait RowTerms<E: Compute, S: Wide<E>> {
    /// `sum` and what row `i` of strip `p` adds. Implementations are `#[inline(always)]`.
    fn add(&self, s: S, sum: S::W, i: usize, p: usize) -> S::W;
}

/// The sums of so many rows, chunk by chunk, as along a row; lane after lane, in a loop, which is a quarter of the code that
/// [`fold_lanes`] makes of terms, and up to a tenth slower where a lane has one.
#[inline(always)]
pub(crate) fn sum_columns<E: Compute, S: Wide<E>, T: RowTerms<E, S>, const P: usize>(
    s: S,
    rows: usize,
    terms: &T,
) -> [S::W; P] {
    let mut sum = [s.wide_zero(); P];
    let mut start = 0;
    while start < rows {
        let end = rows.min(start + E::CHUNK);
        let chunk: [S::W; P] = fold_each_lane(s, &RowLanes { terms, start, end });
        add_chunk::<E, S, P>(s, &mut sum, chunk, start);
        start = end;
    }
    sum
}

/// Adds the sums of the chunk from row `start` on. They are in order, and none is -0, so that those of the first need not be added to zero.
#[inline(always)]
pub(crate) fn add_chunk<E: Compute, S: Wide<E>, const P: usize>(
    s: S,
    sums: &mut [S::W; P],
    chunk: [S::W; P],
    start: usize,
) {
    for p in 0..P {
        sums[p] = if start == 0 { chunk[p] } else { s.wide_add(sums[p], chunk[p]) };
    }
}

/// The terms of the rows `start..end`: a lane is every `LANES`th of them.
struct RowLanes<'a, T> {
    terms: &'a T,
    start: usize,
    end: usize,
}

impl<E: Compute, S: Wide<E>, T: RowTerms<E, S>, const P: usize> LaneTerms<E, S, P> for RowLanes<'_, T> {
    #[inline(always)]
    fn count(&self) -> usize {
        E::LANES.min(self.end - self.start)
    }

    #[inline(always)]
    fn lane(&self, s: S, lane: usize) -> [S::W; P] {
        let mut sum = [s.wide_zero(); P];
        let mut i = self.start + lane;
        while i < self.end {
            for p in 0..P {
                sum[p] = self.terms.add(s, sum[p], i, p);
            }
            i += E::LANES;
        }
        sum
    }
}

/// What is found of columns in one visit, row after row.
pub(crate) trait Visit<E: Compute, S: Wide<E>> {
    /// What is known of the columns of a strip besides their sums.
    type Known: Copy;
    /// Rows `first` to `last` of strip `p`, at most a vector of them, added to the sums of their lanes. Implementations are
    /// `#[inline(always)]`.
    fn visit(&self, s: S, rows: (usize, usize, usize), known: &mut Self::Known, sums: &mut [S::W; 16]);
}

/// Visits all rows, some of each strip in turn, so that what lies side by side in memory is read together; their sums, as along a row.
#[inline(always)]
pub(crate) fn visit_columns<E: Compute, S: Wide<E>, T: Visit<E, S>, const P: usize>(
    s: S,
    rows: usize,
    visit: &T,
    known: &mut [T::Known; P],
) -> [S::W; P] {
    let mut total = [s.wide_zero(); P];
    let mut start = 0;
    while start < rows {
        let end = rows.min(start + E::CHUNK);
        let mut sums = [[s.wide_zero(); 16]; P];
        let mut first = start;
        while first < end {
            let last = end.min(first + E::LANES);
            for p in 0..P {
                visit.visit(s, (first, last, p), &mut known[p], &mut sums[p]);
            }
            first = last;
        }
        let mut chunk = total;
        for p in 0..P {
            [chunk[p]] = fold_lanes(s, &LaneTotals(&[sums[p]], E::LANES.min(end - start)));
        }
        add_chunk::<E, S, P>(s, &mut total, chunk, start);
        start = end;
    }
    total
}

/// The terms of a sum down the columns of a panel, by lanes: a lane of a row is every `LANES`th element.
pub(crate) trait LaneTerms<E: Compute, S: Wide<E>, const P: usize> {
    /// How many lanes have terms.
    fn count(&self) -> usize;
    /// The sums of one lane. Implementations are `#[inline(always)]`.
    fn lane(&self, s: S, lane: usize) -> [S::W; P];
}

/// The sums of the lanes of each strip, as they are known, and how many lanes have terms.
struct LaneTotals<'a, W, const P: usize>(&'a [[W; 16]; P], usize);

impl<E: Compute, S: Wide<E>, const P: usize> LaneTerms<E, S, P> for LaneTotals<'_, S::W, P> {
    #[inline(always)]
    fn count(&self) -> usize {
        self.1
    }

    #[inline(always)]
    fn lane(&self, s: S, lane: usize) -> [S::W; P] {
        let mut totals = [s.wide_zero(); P];
        for p in 0..P {
            totals[p] = self.0[p][lane];
        }
        totals
    }
}

/// The sums down the columns of a panel, its lanes added up in the order of [`Wide::wide_total`].
#[inline(always)]
pub(crate) fn fold_lanes<E: Compute, S: Wide<E>, T: LaneTerms<E, S, P>, const P: usize>(
    s: S,
    terms: &T,
) -> [S::W; P] {
    let quarter = E::LANES / 4;
    let mut quarters = [[s.wide_zero(); P]; 4];
    for lane in 0..quarter {
        let sum = pair(s, terms, lane, lane + 2 * quarter);
        let other = pair(s, terms, lane + quarter, lane + 3 * quarter);
        for p in 0..P {
            quarters[lane][p] = s.pair_add(sum[p], other[p]);
        }
    }
    let mut half = quarter / 2;
    while half > 0 {
        for lane in 0..half {
            for p in 0..P {
                quarters[lane][p] = s.pair_add(quarters[lane][p], quarters[lane + half][p]);
            }
        }
        half /= 2;
    }
    for p in 0..P {
        quarters[0][p] = s.wide_ordered(quarters[0][p]);
    }
    quarters[0]
}

/// The same, lane after lane.
#[inline(always)]
pub(crate) fn fold_each_lane<E: Compute, S: Wide<E>, T: LaneTerms<E, S, P>, const P: usize>(
    s: S,
    terms: &T,
) -> [S::W; P] {
    let (count, half) = (terms.count().min(E::LANES), E::LANES / 2);
    let mut sums = [[s.wide_zero(); 8]; P];
    for lane in 0..count {
        let sum = terms.lane(s, lane);
        for p in 0..P {
            meet::<E, S>(s, &mut sums[p][lane % half], sum[p], lane);
        }
    }
    let mut folded = [s.wide_zero(); P];
    for p in 0..P {
        folded[p] = fold_half(s, sums[p], count);
    }
    folded
}

/// The terms of a sum down the columns of a panel, by lanes, four lanes at a time.
pub(crate) trait FourLanes<E: Compute, S: Wide<E>> {
    /// How many lanes have terms.
    fn count(&self) -> usize;
    /// The sums of four lanes, from a multiple of four on, of strip `p`; zero where there are no terms. Implementations are `#[inline(always)]`.
    fn four(&self, s: S, lane: usize, p: usize) -> [S::W; 4];
}

/// [`fold_lanes`] of these.
#[inline(always)]
pub(crate) fn fold_fours<E: Compute, S: Wide<E>, T: FourLanes<E, S>, const P: usize>(
    s: S,
    terms: &T,
) -> [S::W; P] {
    let (count, half) = (terms.count().min(E::LANES), E::LANES / 2);
    let mut folded = [s.wide_zero(); P];
    for p in 0..P {
        let mut sums = [s.wide_zero(); 8];
        let mut lane = 0;
        while lane < count {
            let four = terms.four(s, lane, p);
            for k in 0..4 {
                meet::<E, S>(s, &mut sums[(lane + k) % half], four[k], lane);
            }
            lane += 4;
        }
        folded[p] = fold_half(s, sums, count);
    }
    folded
}

/// The sum of a lane, put where that of the lane half a vector away belongs, too.
#[inline(always)]
fn meet<E: Compute, S: Wide<E>>(s: S, sum: &mut S::W, other: S::W, lane: usize) {
    *sum = if lane < E::LANES / 2 { other } else { s.pair_add(*sum, other) };
}

/// The sum of all lanes, of which those half a vector apart have met, as far as there are any.
#[inline(always)]
fn fold_half<E: Compute, S: Wide<E>>(s: S, mut sums: [S::W; 8], count: usize) -> S::W {
    let mut half = E::LANES / 2;
    for lane in 0..half {
        if lane + half >= count {
            sums[lane] = s.wide_and_zero(sums[lane]);
        }
    }
    while half > 1 {
        half /= 2;
        for lane in 0..half {
            sums[lane] = s.pair_add(sums[lane], sums[lane + half]);
        }
    }
    s.wide_ordered(sums[0])
}

/// The sums of two lanes. One that has no terms is zero.
#[inline(always)]
fn pair<E: Compute, S: Wide<E>, T: LaneTerms<E, S, P>, const P: usize>(
    s: S,
    terms: &T,
    a: usize,
    b: usize,
) -> [S::W; P] {
    if a >= terms.count() {
        return [s.wide_zero(); P];
    }
    let mut sum = terms.lane(s, a);
    if b < terms.count() {
        let other = terms.lane(s, b);
        for p in 0..P {
            sum[p] = s.pair_add(sum[p], other[p]);
        }
    } else {
        for p in 0..P {
            sum[p] = s.wide_and_zero(sum[p]);
        }
    }
    sum
}
