/* Drawings of the report as SVG inside HTML: loss curves, and where a figure lies
 * beside chance. Consumes numbers, writes elements whose colours are the page's
 * classes. Knows no attack. */
#include "audit/report.h"

#include <math.h>

enum {
    WIDTH = 360,
    HEIGHT = 210,
    LEFT = 40,
    RIGHT = 8,
    TOP = 22,
    BOTTOM = 24,
    MAX_POINTS = 240, /* of a line: more would not be seen */
    NUM_COLOURS = 8   /* classes c0 … c7 */
};

/* From losses and steps to places in the drawing. */
typedef struct {
    FILE *to;
    const amg_curve *curve;
    int num_heads;
    double low, high, unit; /* of losses; unit: between grid lines */
    double first, last;     /* steps */
} plot;

static double place_x(const plot *p, double step)
{
    const double width = p->last > p->first ? p->last - p->first : 1;
    return LEFT + (WIDTH - LEFT - RIGHT) * (step - p->first) / width;
}

static double place_y(const plot *p, double loss)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (p->high - loss) / (p->high - p->low);
}

/* 1, 2 or 5 times a power of ten, so that about four grid lines are seen. */
static double grid_unit(double range)
{
    const double rough = range / 4, power = pow(10, floor(log10(rough)));
    const double units[] = {1, 2, 5, 10};
    int i = 0;
    while (i < 3 && units[i] * power < rough) i++;
    return units[i] * power;
}

/* The range of all finite losses, widened to grid lines; false: there is none. */
static bool find_scale(plot *p)
{
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < p->curve->count * p->num_heads; i++) {
        const double v = p->curve->loss[i];
        if (!isfinite(v)) continue;
        low = fmin(low, v);
        high = fmax(high, v);
    }
    if (!(low <= high) || high > 1e12 || low < -1e12) return false;
    p->unit = grid_unit(fmax(high - low, 1e-3 * fmax(fabs(high), 1e-3)));
    p->low = floor(low / p->unit) * p->unit;
    p->high = ceil(high / p->unit) * p->unit;
    if (p->high <= p->low) p->high = p->low + p->unit;
    p->first = p->curve->step[0];
    p->last = p->curve->step[p->curve->count - 1];
    return true;
}

static void draw_axes(const plot *p)
{
    const int lines = (int)lround((p->high - p->low) / p->unit);
    for (int i = 0; i <= lines; i++) {
        const double v = p->low + i * p->unit, y = place_y(p, v);
        fprintf(p->to,
                "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n",
                LEFT, WIDTH - RIGHT, y, y, LEFT - 5, y + 4, v);
    }
    fprintf(p->to,
            "<text x=\"%d\" y=\"%d\">step %.0f</text>"
            "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.0f</text>\n",
            LEFT, HEIGHT - 8, p->first, WIDTH - RIGHT, HEIGHT - 8, p->last);
}

/* Mean loss of a head over points [begin, end); NaN if none was told. */
static double mean_loss(const plot *p, int head, int64_t begin, int64_t end)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = begin; i < end; i++) {
        const double v = p->curve->loss[i * p->num_heads + head];
        if (!isfinite(v)) continue;
        sum += v;
        n++;
    }
    return n ? sum / (double)n : NAN;
}

static void draw_line(const plot *p, int head, int original)
{
    const int64_t n = p->curve->count, points = n < MAX_POINTS ? n : MAX_POINTS;
    char kind[16] = "decoy";
    if (original < 0) snprintf(kind, sizeof kind, "c%d", head % NUM_COLOURS);
    fprintf(p->to, "<path class=\"curve %s\" d=\"", head == original ? "own" : kind);
    bool pen_down = false;
    for (int64_t i = 0; i < points; i++) {
        const int64_t begin = i * n / points, end = (i + 1) * n / points;
        const double loss = mean_loss(p, head, begin, end);
        if (!isnan(loss))
            fprintf(p->to, "%c%.1f %.1f", pen_down ? 'L' : 'M',
                    place_x(p, p->curve->step[end - 1]), place_y(p, loss));
        pen_down = !isnan(loss);
    }
    fprintf(p->to, "\"><title>candidate %d%s</title></path>\n", head,
            head == original ? ", yours" : "");
}

void amg_svg_curve(FILE *to, const amg_curve *curve, int num_heads, int original,
                   const char *title)
{
    plot p = {.to = to, .curve = curve, .num_heads = num_heads};
    if (curve->count < 2 || !find_scale(&p)) return;
    fprintf(to, "<svg class=\"plot\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"",
            WIDTH, HEIGHT);
    amg_html_text(to, title);
    fprintf(to, "\">\n<text class=\"title\" x=\"%d\" y=\"12\">", LEFT);
    amg_html_text(to, title);
    fprintf(to, "</text>\n");
    draw_axes(&p);
    for (int h = 0; h < num_heads; h++)
        if (h != original) draw_line(&p, h, original);
    if (original >= 0 && original < num_heads) draw_line(&p, original, original);
    fprintf(to, "</svg>\n");
}

static bool is_share(double v) { return v >= 0 && v <= 1; }

void amg_svg_figure(FILE *to, const amg_finding *f)
{
    enum { SPAN = 100, EDGE = 5 };
    if (!is_share(f->value)) return;
    fprintf(to,
            "<svg class=\"scale\" viewBox=\"0 0 %d 16\" aria-hidden=\"true\">"
            "<rect class=\"track\" x=\"%d\" y=\"7\" width=\"%d\" height=\"2\"/>",
            SPAN + 2 * EDGE, EDGE, SPAN);
    if (!isnan(f->pass_low) || !isnan(f->pass_high)) {
        const double low = fmin(fmax(0, f->pass_low), 1); /* fmax passes over NaN */
        const double high = fmax(fmin(1, f->pass_high), low);
        fprintf(to,
                "<rect class=\"range\" x=\"%.1f\" y=\"4\" width=\"%.1f\" "
                "height=\"8\"/>",
                EDGE + SPAN * low, SPAN * (high - low));
    }
    if (is_share(f->chance))
        fprintf(to,
                "<rect class=\"chance\" x=\"%.1f\" y=\"1\" width=\"1\" height=\"14\"/>",
                EDGE + SPAN * f->chance - 0.5);
    if (is_share(f->low) && is_share(f->high))
        fprintf(to,
                "<rect class=\"interval\" x=\"%.1f\" y=\"7\" width=\"%.1f\" "
                "height=\"2\"/>",
                EDGE + SPAN * f->low, SPAN * fmax(0, f->high - f->low));
    fprintf(to, "<circle class=\"dot\" cx=\"%.1f\" cy=\"8\" r=\"3.5\"/></svg>\n",
            EDGE + SPAN * f->value);
}
