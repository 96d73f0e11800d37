use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;
/// Told apart by people who see few colours, on white and on dark pages.
const COLOURS: [&str; 4] = ["#0072b2", "#56b4e9", "#d55e00", "#009e73"];
const GREY: &str = "#888888";
/// Lines of the grid, at most.
const STEPS: f64 = 6.0;

/// Curves over a logarithmic axis.
#[derive(Debug)]
pub(crate) struct Plot {
    /// Its title, and the names of the axes.
    pub(crate) titles: [&'static str; 3],
    /// What is drawn; at least one, each of at least two points.
    pub(crate) lines: Vec<Line>,
}

/// One curve.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// By ascending x, which is over 0.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Plot {
    /// The drawing as a file.
    pub(crate) fn svg(&self) -> String {
        let frame = Frame::around(&self.lines);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"13\" fill=\"{GREY}\">\n"
        );
        let [title, x_name, y_name] = self.titles;
        text(&mut svg, WIDTH / 2.0, 22.0, "middle", title);
        text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0, "middle", x_name);
        text(&mut svg, LEFT - 8.0, TOP - 12.0, "end", y_name);
        frame.grid(&mut svg, &self.lines);
        for (at, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let places: Vec<_> = line.points.iter().map(|point| frame.place(*point)).collect();
            let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let path = path.join(" ");
            let _ = writeln!(
                svg,
                "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            );
            for (x, y) in &places {
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
            }
            let x = LEFT + 12.0 + 130.0 * at as f64;
            let y = TOP - 4.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{:.1}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>",
                y - 6.0
            );
            text(&mut svg, x + 18.0, y, "start", &line.name);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// From values to places on the paper.
struct Frame {
    from: f64,
    to: f64,
    top: f64,
    step: f64,
}

impl Frame {
    fn around(lines: &[Line]) -> Self {
        let points = || lines.iter().flat_map(|line| &line.points);
        let from = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
        let to = points().map(|(x, _)| *x).fold(from, f64::max);
        let highest = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let step = round_step(highest / STEPS);
        Self { from: from.log10(), to: to.log10(), top: (highest / step).ceil() * step, step }
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let part = (x.log10() - self.from) / (self.to - self.from);
        let across = LEFT + part * (WIDTH - LEFT - RIGHT);
        (across, HEIGHT - BOTTOM - y / self.top * (HEIGHT - TOP - BOTTOM))
    }

    /// A horizontal line at every step, and the places where something was measured below.
    fn grid(&self, svg: &mut String, lines: &[Line]) {
        let mut value = 0.0;
        while value <= self.top * 1.001 {
            let (_, y) = self.place((10f64.powf(self.from), value));
            let right = WIDTH - RIGHT;
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"{GREY}\" stroke-opacity=\"0.3\"/>"
            );
            text(svg, LEFT - 8.0, y + 4.0, "end", &short(value));
            value += self.step;
        }
        let mut measured: Vec<f64> = lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x).collect();
        measured.sort_by(f64::total_cmp);
        measured.dedup();
        for x in measured {
            let (across, y) = self.place((x, 0.0));
            text(svg, across, y + 20.0, "middle", &short(x));
        }
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    steps.into_iter().find(|step| *step >= least * 0.999).unwrap_or(10.0 * power)
}

fn short(value: f64) -> String {
    if value >= 1000.0 && value % 1000.0 == 0.0 {
        return format!("{} k", value / 1000.0);
    }
    // No digits that only rounding made.
    format!("{}", (value * 1000.0).round() / 1000.0)
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        let line =
            |name: &str, points: &[(f64, f64)]| Line { name: name.to_owned(), points: points.to_vec() };
        let lines = vec![
            line("aquifer", &[(1.0, 700.0), (16.0, 650.0), (1000.0, 240.0)]),
            line("kafka", &[(1.0, 540.0), (1000.0, 0.0)]),
        ];
        Plot { titles: ["a < b", "x", "y"], lines }
    }

    #[test]
    fn every_point_lies_inside_the_frame() {
        let plot = plot();
        let frame = Frame::around(&plot.lines);
        for point in plot.lines.iter().flat_map(|line| &line.points) {
            let (x, y) = frame.place(*point);
            assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{point:?} at {x}");
            assert!((TOP..=HEIGHT - BOTTOM).contains(&y), "{point:?} at {y}");
        }
    }

    #[test]
    fn a_drawing_has_all_points_and_no_open_text() {
        let svg = plot().svg();
        assert_eq!(svg.matches("<circle").count(), 5);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN"));
    }

    #[test]
    fn steps_are_round() {
        assert!((round_step(116.0) - 200.0).abs() < 1e-6);
        assert!((round_step(0.42) - 0.5).abs() < 1e-6);
        assert!((round_step(1.0) - 1.0).abs() < 1e-6);
    }
}
