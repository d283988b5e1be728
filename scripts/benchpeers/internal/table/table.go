// Package table does the sums of the benchmarks and prints their results.
package table

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Median returns the median of values, of which there must be at least one.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Number formats a number with three significant digits, or as a whole number
// with commas from 100 on.
func Number(v float64) string {
	switch {
	case v >= 100:
		digits := fmt.Sprintf("%.0f", v)
		for i := len(digits) - 3; i > 0; i -= 3 {
			digits = digits[:i] + "," + digits[i:]
		}
		return digits
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// Ratio formats a ratio with two decimals, or with two significant digits if it is tiny.
func Ratio(v float64) string {
	if v < 0.05 {
		return fmt.Sprintf("%.2g×", v)
	}
	return fmt.Sprintf("%.2f×", v)
}

// YesNo formats whether a wish was met.
func YesNo(met bool) string {
	if met {
		return "yes"
	}
	return "**no**"
}

// Markdown writes rows of cells, the first of which is the head. Columns whose
// head begins with a space are aligned to the right.
func Markdown(w io.Writer, rows [][]string) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(strings.TrimSpace(cell)), 3)
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			right := strings.HasPrefix(rows[0][i], " ")
			cell = strings.TrimSpace(cell)
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if right {
				cell = space + cell
			} else {
				cell += space
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i, head := range row {
			line := strings.Repeat("-", widths[i])
			if strings.HasPrefix(head, " ") {
				line = line[1:] + ":"
			}
			b.WriteString("| " + line + " ")
		}
		b.WriteString("|\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
