// Lines of pictures that fill the width: all of a line are of one height, and no line is much higher than another.

// {lines: [{first, last, top, height, under}], spots: [{left, width, line}], height}, in CSS pixels, of pictures by their ratios.
// Of a line that has a picture with something `under` it, `height` holds that room too.
export function layout(ratios, width, row, gap, under = []) {
  const lines = [];
  const spots = [];
  let top = 0;
  let first = 0;
  let sum = 0;
  const close = (last, height) => {
    let left = 0;
    for (let i = first; i <= last; i++) {
      const wide = Math.floor(ratios[i] * height * 64) / 64;
      spots.push({ left, width: wide, line: lines.length });
      left += wide + gap;
    }
    const room = Math.max(0, ...under.slice(first, last + 1));
    lines.push({ first, last, top, height: height + room, under: room });
    top += height + room + gap;
    [first, sum] = [last + 1, 0];
  };
  for (let i = 0; i < ratios.length; i++) {
    sum += ratios[i];
    const room = width - gap * (i - first);
    if (sum * row >= room) close(i, room / sum);
  }
  if (first < ratios.length) close(ratios.length - 1, row);
  return { lines, spots, height: Math.max(top - gap, 0) };
}

// The first of `lines` that ends below `y`; the last one if none does.
export function lineAt(lines, y) {
  let [low, high] = [0, lines.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lines[middle].top + lines[middle].height > y) high = middle;
    else low = middle + 1;
  }
  return low;
}

// Of the line after `index`, or the one before, the picture whose middle is nearest.
export function below({ lines, spots }, index, direction) {
  const line = lines[spots[index].line + direction];
  if (!line) return index;
  const middle = (i) => spots[i].left + spots[i].width / 2;
  let nearest = line.first;
  for (let i = line.first; i <= line.last; i++) {
    if (Math.abs(middle(i) - middle(index)) < Math.abs(middle(nearest) - middle(index))) nearest = i;
  }
  return nearest;
}
