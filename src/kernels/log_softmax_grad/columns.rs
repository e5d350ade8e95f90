//! The product backward in `f32` down wide strips of columns: what is known of them in one visit, row after row, and then their results.
#![forbid(unsafe_code)]

use super::short::{ShortLogSoftmaxVjp, apart, seen};
use crate::element::Compute;
use crate::kernels::{LaneTotals, add_chunk, fold_lanes};
use crate::simd::{Outside, PanelIo, Wide};

/// Rows of a strip that are visited before those of the next strip: their lines of all strips stay near.
const TOGETHER: usize = f32::LANES;

/// What is known of the columns of a strip.
#[derive(Clone, Copy)]
pub(super) struct Column<V> {
    pub(super) largest: V,
    /// NaN if there is one.
    pub(super) found: V,
    /// The largest cotangent, whatever its sign.
    pub(super) size: V,
    /// The cotangent of a likely class, and how many there are.
    pub(super) likely: V,
    pub(super) count: V,
}

impl ShortLogSoftmaxVjp {
    /// As [`Op::copied_panel`](crate::kernels::Op::copied_panel).
    #[inline(always)]
    pub(super) fn copied_columns<S: Wide<f32>, O: Outside<f32, 2>, const P: usize>(
        &self,
        s: S,
        (panel, near): (O, PanelIo<'_, f32, 2>),
    ) -> bool {
        let zero = s.splat(0.0);
        let nothing = Column {
            largest: s.splat(f32::NEG_INFINITY),
            found: zero,
            size: zero,
            likely: zero,
            count: zero,
        };
        let (mut columns, mut others) = ([nothing; P], [s.wide_zero(); P]);
        let rows = panel.rows();
        let mut start = 0;
        while start < rows {
            let end = rows.min(start + f32::CHUNK);
            let mut sums = [[s.wide_zero(); 16]; P];
            let mut first = start;
            while first < end {
                let last = end.min(first + TOGETHER);
                for p in 0..P {
                    self.visit(s, (panel, near), (first, last, p), (&mut columns[p], &mut sums[p]));
                }
                first = last;
            }
            let mut chunk = others;
            for p in 0..P {
                [chunk[p]] = fold_lanes(s, &LaneTotals(&[sums[p]], f32::LANES.min(end - start)));
            }
            add_chunk::<f32, S, P>(s, &mut others, chunk, start);
            start = end;
        }
        let mut parts = [(zero, others[0], others[0]); P];
        for p in 0..P {
            let Some(all) = self.ordinary_sum(s, &columns[p], others[p]) else { return false };
            parts[p] = (columns[p].likely, others[p], all);
        }
        let mut first = 0;
        while first < rows {
            let last = rows.min(first + TOGETHER);
            for p in 0..P {
                self.strip::<S, O, true>(s, parts[p], (panel, near), (first, last, p));
            }
            first = last;
        }
        true
    }

    /// Some rows of strip `p`, which are copied to another panel. The cotangents but those of likely classes are added up by lanes, as along
    /// a row.
    #[inline(always)]
    fn visit<S: Wide<f32>, O: Outside<f32, 2>>(
        &self,
        s: S,
        (panel, near): (O, PanelIo<'_, f32, 2>),
        (first, last, p): (usize, usize, usize),
        (column, sums): (&mut Column<S::V>, &mut [S::W; 16]),
    ) {
        let (zero, mut known) = (s.splat(0.0), *column);
        for i in first..last {
            let entry = [panel.load(s, 0, i, p), panel.load(s, 1, i, p)];
            near.put(s, 0, i, p, entry[0]);
            near.put(s, 1, i, p, entry[1]);
            let (mut d, is_likely) = apart(s, entry);
            known.size = self.larger(s, known.size, d);
            if s.any(is_likely) {
                known.likely = s.select(is_likely, s.add(d, zero), known.likely);
                known.count = s.select(is_likely, s.add(known.count, s.splat(1.0)), known.count);
                d = s.select(is_likely, zero, d);
            }
            let lane = i % f32::LANES;
            sums[lane] = s.wide_add(sums[lane], s.widen(d));
            [known.largest, known.found] = seen(s, [entry[0], known.largest, known.found]);
        }
        *column = known;
    }
}
