//! Least squares with non-negative coefficients.

#[cfg(test)]
mod tests;

/// A pivot below this fraction of its column means that the column depends on the others.
const DEPENDENT: f64 = 1e-10;

/// Coefficients that are known from before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prior<const N: usize> {
    pub x: [f64; N],
    /// The weight of the prior, relative to all rows together.
    pub weight: f64,
}

/// Minimises `‖A x - b‖` over `x >= 0`, given the rows of `A` with their `b`. This is the
/// active-set method of Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23, on
/// the normal equations of columns scaled to length 1. A prior adds `weight ‖x - prior‖²`, scaled
/// in the same way (ridge regression), so that coefficients without data keep their value. Without
/// a prior, a column that is zero or depends on others gets 0.
pub(crate) fn non_negative_least_squares<const N: usize>(
    rows: &[([f64; N], f64)],
    prior: Option<Prior<N>>,
) -> [f64; N] {
    let mut gram = [[0.0; N]; N];
    let mut moment = [0.0; N];
    for (row, b) in rows {
        for i in 0..N {
            moment[i] += row[i] * b;
            (0..=i).for_each(|j| gram[i][j] += row[i] * row[j]);
        }
    }
    let length = |i: usize| {
        if gram[i][i] > 0.0 {
            gram[i][i].sqrt()
        } else {
            1.0
        }
    };
    let lengths: [f64; N] = std::array::from_fn(length);
    for i in 0..N {
        moment[i] /= lengths[i];
        for j in 0..=i {
            gram[i][j] /= lengths[i] * lengths[j];
            gram[j][i] = gram[i][j];
        }
        if let Some(prior) = prior {
            gram[i][i] += prior.weight;
            moment[i] += prior.weight * prior.x[i] * lengths[i];
        }
    }
    let x = solve_non_negative(&gram, &moment);
    std::array::from_fn(|i| x[i] / lengths[i])
}

fn solve_non_negative<const N: usize>(gram: &[[f64; N]; N], moment: &[f64; N]) -> [f64; N] {
    let tolerance = 1e-12 * moment.iter().fold(0.0, |max: f64, m| max.max(m.abs()));
    let mut x = [0.0; N];
    let mut is_free = [false; N];
    let mut is_dependent = [false; N];
    // In exact arithmetic the method terminates by itself; the limit guards against cycles from
    // rounding.
    for _ in 0..10 * N {
        let gradient = |i: usize| moment[i] - (0..N).map(|j| gram[i][j] * x[j]).sum::<f64>();
        let Some(steepest) = (0..N)
            .filter(|&i| !is_free[i] && !is_dependent[i] && gradient(i) > tolerance)
            .max_by(|&i, &j| gradient(i).total_cmp(&gradient(j)))
        else {
            break;
        };
        is_free[steepest] = true;
        loop {
            let Some(goal) = solve(gram, moment, &is_free) else {
                is_free[steepest] = false;
                is_dependent[steepest] = true;
                break;
            };
            // Move towards the goal until the first coefficient reaches 0, and fix that one at 0.
            let Some((blocking, step)) = (0..N)
                .filter(|&i| is_free[i] && goal[i] <= 0.0)
                .map(|i| (i, x[i] / (x[i] - goal[i]).max(f64::MIN_POSITIVE)))
                .min_by(|(_, a), (_, b)| a.total_cmp(b))
            else {
                x = goal;
                break;
            };
            for i in (0..N).filter(|&i| is_free[i]) {
                x[i] = (x[i] + step * (goal[i] - x[i])).max(0.0);
            }
            (x[blocking], is_free[blocking]) = (0.0, false);
        }
    }
    x
}

/// The unconstrained solution in the free coordinates, by Cholesky decomposition; `None` if their
/// columns are dependent.
fn solve<const N: usize>(
    gram: &[[f64; N]; N],
    moment: &[f64; N],
    is_free: &[bool; N],
) -> Option<[f64; N]> {
    let free: Vec<usize> = (0..N).filter(|&i| is_free[i]).collect();
    let mut lower = [[0.0; N]; N];
    for (row, &i) in free.iter().enumerate() {
        for (column, &j) in free[..=row].iter().enumerate() {
            let known: f64 = (0..column).map(|k| lower[row][k] * lower[column][k]).sum();
            let rest = gram[i][j] - known;
            lower[row][column] = if row != column {
                rest / lower[column][column]
            } else if rest > DEPENDENT {
                rest.sqrt()
            } else {
                return None;
            };
        }
    }
    let mut half = [0.0; N];
    for (row, &i) in free.iter().enumerate() {
        let known: f64 = (0..row).map(|k| lower[row][k] * half[k]).sum();
        half[row] = (moment[i] - known) / lower[row][row];
    }
    let mut solution = [0.0; N];
    for (row, &i) in free.iter().enumerate().rev() {
        let known: f64 = (row + 1..free.len())
            .map(|k| lower[k][row] * solution[free[k]])
            .sum();
        solution[i] = (half[row] - known) / lower[row][row];
    }
    Some(solution)
}
