//! The stages of a run of exponentials, as macros of assembly: `$t` is `ps` for `f32` and `pd` for `f64`, as instructions name them.

/// Lines of assembly, each of some pieces.
macro_rules! lines {
    ($($($piece:expr),+);+ $(;)?) => { concat!($($($piece,)+ "\n",)+) };
}

/// A stage of the first half of a vector: what is left of x, the number of quarters, the rest, the power of two, then the sum and its
/// errors (or, of columns, what rounds, and the floor), and where the half lies. ymm6 and ymm7 are on the way.
macro_rules! low {
    ($stage:ident, $t:ident $(, $more:expr)*) => {
        $stage!($t, "ymm8", "ymm9", "ymm10", "ymm11", "ymm0", "ymm2", "0" $(, $more)*)
    };
}

/// The same of the second half.
macro_rules! high {
    ($stage:ident, $t:ident $(, $more:expr)*) => {
        $stage!($t, "ymm12", "ymm13", "ymm14", "ymm15", "ymm1", "ymm3", "32" $(, $more)*)
    };
}

/// The first stage: x reduced. Along a row ymm4 is what rounds, and ymm5 the constant; `$floor` loads the floor.
macro_rules! reduced {
    ($t:ident, $left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr, $floor:expr) => {
        concat!(
            lines![
                $floor;
                "vmax", stringify!($t), " ymm6, ymm6, [{src} + ", $at, "]";
                "vmovaps ", $quarters, ", ymm4";
                "vfmadd231", stringify!($t), " ", $quarters, ", ymm6, ymm5";
                "vsub", stringify!($t), " ", $left, ", ymm4, ", $quarters;
                "vfmadd231", stringify!($t), " ", $left, ", ymm6, ymm5";
                "vfmadd231", stringify!($t), " ", $left, ", ymm6, [{run} + 64]";
            ],
            index!($t, $quarters)
        )
    };
}

/// The same down columns.
macro_rules! reduced_columns {
    ($t:ident, $left:expr, $quarters:expr, $rest:expr, $power:expr, $round:expr, $floor:expr, $at:expr) => {
        concat!(
            lines![
                "vmax", stringify!($t), " ymm6, ", $floor, ", [{src} + ", $at, "]";
                "vmovaps ", $quarters, ", ", $round;
                "vfmadd231", stringify!($t), " ", $quarters, ", ymm6, ymm5";
                "vsub", stringify!($t), " ", $left, ", ", $round, ", ", $quarters;
                "vfmadd231", stringify!($t), " ", $left, ", ymm6, ymm5";
                "vfmadd231", stringify!($t), " ", $left, ", ymm6, [{run} + 64]";
            ],
            index!($t, $quarters)
        )
    };
}

/// The number of quarters made an index: that of an `f32` is one, as `vpermilps` looks at two bits and no more; an entry of `f64` is
/// two of eight 32-bit words, twice the number and one more.
macro_rules! index {
    (ps, $quarters:expr) => {
        ""
    };
    (pd, $quarters:expr) => {
        lines![
            "vpsllq ", $quarters, ", ", $quarters, ", 1";
            "vmovsldup ", $quarters, ", ", $quarters;
            "vpor ", $quarters, ", ", $quarters, ", [rip + {second}]";
        ]
    };
}

/// The second stage: the polynomial but for its last step.
macro_rules! polynomial {
    (ps, $left:expr, $($more:expr),*) => {
        lines![
            "vmovaps ymm7, [{run} + 384]";
            "vfmadd231ps ymm7, ", $left, ", [{run} + 448]";
            "vfmadd213ps ymm7, ", $left, ", [{run} + 320]";
            "vfmadd213ps ymm7, ", $left, ", [{run} + 256]";
        ]
    };
    (pd, $left:expr, $($more:expr),*) => {
        lines![
            "vmovapd ymm7, [{run} + 640]";
            "vfmadd231pd ymm7, ", $left, ", [{run} + 704]";
            "vfmadd213pd ymm7, ", $left, ", [{run} + 576]";
            "vfmadd213pd ymm7, ", $left, ", [{run} + 512]";
            "vfmadd213pd ymm7, ", $left, ", [{run} + 448]";
            "vfmadd213pd ymm7, ", $left, ", [{run} + 384]";
            "vfmadd213pd ymm7, ", $left, ", [{run} + 320]";
            "vfmadd213pd ymm7, ", $left, ", [{run} + 256]";
        ]
    };
}

/// What the table of quarters lost, the table being at `$table`.
macro_rules! lost {
    (ps, $quarters:expr, $rest:expr, $table:expr) => {
        lines!["vbroadcastf128 ", $rest, ", ", $table; "vpermilps ", $rest, ", ", $rest, ", ", $quarters]
    };
    (pd, $quarters:expr, $rest:expr, $table:expr) => {
        lines!["vpermps ", $rest, ", ", $quarters, ", ", $table]
    };
}

/// The last step, and what the table lost; the number of quarters goes along to where the power comes of it.
macro_rules! rest {
    ($t:ident, $left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr, $table:expr) => {
        concat!(
            lines!["vmovaps ", $power, ", ", $quarters],
            lost!($t, $quarters, $rest, $table),
            lines!["vfmadd231", stringify!($t), " ", $rest, ", ymm7, ", $left]
        )
    };
}

/// The same down columns, each of which has its own growth.
macro_rules! rest_columns {
    ($t:ident, $left:expr, $quarters:expr, $rest:expr, $power:expr, $round:expr, $floor:expr, $at:expr) => {
        concat!(
            lines!["vmovaps ", $power, ", ", $quarters],
            lost!($t, $quarters, $rest, "[{run} + 768]"),
            lines![
                "vadd", stringify!($t), " ", $rest, ", ", $rest, ", [{run} + 1152 + ", $at, "]";
                "vfmadd231", stringify!($t), " ", $rest, ", ymm7, ", $left;
            ]
        )
    };
}

/// The power of two of a number of quarters; that of an `f64` is doubled by now, so that one bit less is to go.
macro_rules! power {
    (ps, $power:expr) => {
        lines![
            "vbroadcastf128 ymm6, [{run} + 1216]";
            "vpermilps ymm6, ymm6, ", $power;
            "vpslld ", $power, ", ", $power, ", 21";
            "vpaddd ", $power, ", ", $power, ", ymm6";
        ]
    };
    (pd, $power:expr) => {
        lines![
            "vpermps ymm6, ", $power, ", [{run} + 1216]";
            "vpsllq ", $power, ", ", $power, ", 49";
            "vpaddq ", $power, ", ", $power, ", ymm6";
        ]
    };
}

/// The third stage: the power of two and the exponential, which is kept if `$kept`.
macro_rules! exponential {
    ($t:ident, $left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr, $kept:expr) => {
        concat!(
            power!($t, $power),
            lines![
                "vmovaps ymm6, ", $power;
                "vfmadd231", stringify!($t), " ymm6, ", $power, ", ", $rest;
                $kept, " [{dst} + ", $at, "], ymm6";
            ]
        )
    };
}

/// The sum along a row.
macro_rules! sum {
    ($t:ident, $left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr) => {
        lines!["vadd", stringify!($t), " ymm6, ymm6, ", $sum]
    };
}

/// What it lost.
macro_rules! errors {
    ($t:ident, $left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr) => {
        lines![
            "vsub", stringify!($t), " ", $sum, ", ymm6, ", $sum;
            "vsub", stringify!($t), " ", $sum, ", ", $power, ", ", $sum;
            "vfmadd231", stringify!($t), " ", $sum, ", ", $power, ", ", $rest;
            "vadd", stringify!($t), " ", $errors, ", ", $errors, ", ", $sum;
            "vmovaps ", $sum, ", ymm6";
        ]
    };
}

/// The sums down columns, and what they lost: those of the lanes lie in memory one after another.
macro_rules! sum_columns {
    ($t:ident, $left:expr, $quarters:expr, $rest:expr, $power:expr, $round:expr, $floor:expr, $at:expr) => {
        lines![
            "vmovaps ymm4, [{sums} + {lane} + ", $at, "]";
            "vadd", stringify!($t), " ymm6, ymm6, ymm4";
            "vmovaps [{sums} + {lane} + ", $at, "], ymm6";
            "vsub", stringify!($t), " ymm4, ymm6, ymm4";
            "vsub", stringify!($t), " ymm4, ", $power, ", ymm4";
            "vfmadd231", stringify!($t), " ymm4, ", $power, ", ", $rest;
            "vadd", stringify!($t), " ymm4, ymm4, [{sums} + {lane} + 64 + ", $at, "]";
            "vmovaps [{sums} + {lane} + 64 + ", $at, "], ymm4";
        ]
    };
}

/// On to the sums of the next lane, of sixteen or eight.
macro_rules! next_lane {
    (ps) => {
        lines!["add {lane}, 128"; "and {lane}, 2047"]
    };
    (pd) => {
        lines!["add {lane}, 128"; "and {lane}, 1023"]
    };
}

/// Results of the row before, of exponentials: times a number in two parts.
macro_rules! scaled {
    ($t:ident) => {
        lines![
            "vmul", stringify!($t), " ymm7, ymm6, [{run} + 1024]";
            "vfmadd132", stringify!($t), " ymm6, ymm7, [{run} + 960]";
        ]
    };
}

/// Of inputs: less two numbers, one after the other.
macro_rules! shifted {
    ($t:ident) => {
        lines![
            "vsub", stringify!($t), " ymm6, ymm6, [{run} + 960]";
            "vsub", stringify!($t), " ymm6, ymm6, [{run} + 1024]";
        ]
    };
}

/// The results of the row before, and the maximum of the row after.
macro_rules! others {
    ($t:ident, $left:expr, $quarters:expr, $rest:expr, $power:expr, $sum:expr, $errors:expr, $at:expr, $result:expr) => {
        concat!(
            lines!["vmovups ymm6, [{from} + ", $at, "]"],
            $result,
            lines![
                "vmovups [{to} + ", $at, "], ymm6";
                "vmovups ymm6, [{after} + ", $at, "]";
                "vmax", stringify!($t), " ymm6, ymm6, [{run} + 1088 + ", $at, "]";
                "vmovaps [{run} + 1088 + ", $at, "], ymm6";
            ]
        )
    };
}

/// What begins the line that keeps an exponential, and what makes a comment of it.
macro_rules! kept {
    () => {
        "vmovups"
    };
}
macro_rules! not_kept {
    () => {
        "# not"
    };
}

/// On to the next vector of the other rows.
macro_rules! onward {
    () => {
        lines!["add {from}, 64"; "add {to}, 64"; "add {after}, 64"]
    };
}

/// Where a run along one row has the floor, and what the table of quarters lost.
macro_rules! floor {
    () => {
        "vmovaps ymm6, [{run} + 192]"
    };
}
macro_rules! table {
    () => {
        "[{run} + 768]"
    };
}

/// Where one along several rows has what rounds, by the row of the first stage, the floor, and that table, by the row of the second.
macro_rules! round_of {
    ($t:ident) => {
        lines!["vbroadcast", single!($t), " ymm4, [{first} + {round}]"]
    };
}
macro_rules! floor_of {
    ($t:ident) => {
        concat!("vbroadcast", single!($t), " ymm6, [{first} + {floor}]")
    };
}
macro_rules! table_of {
    () => {
        "[{next} + {lost}]"
    };
}
macro_rules! single {
    (ps) => {
        "ss"
    };
    (pd) => {
        "sd"
    };
}

/// The sums of a run along rows, as they begin, and to where they belong.
macro_rules! sums_begin {
    () => {
        lines![
            "vmovaps ymm0, [{run} + 832]"; "vmovaps ymm1, [{run} + 864]";
            "vmovaps ymm2, [{run} + 896]"; "vmovaps ymm3, [{run} + 928]";
        ]
    };
}
macro_rules! sums_end {
    ($row:expr) => {
        lines![
            "vmovups [{", $row, "}], ymm0"; "vmovups [{", $row, "} + 32], ymm1";
            "vmovups [{", $row, "} + 64], ymm2"; "vmovups [{", $row, "} + 96], ymm3";
        ]
    };
}
