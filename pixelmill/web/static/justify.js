// Lines of pictures that fill the width: all of a line are of one height, and no line is much higher than another.

export function justify(list) {
  const width = Math.floor(list.getBoundingClientRect().width);
  const style = getComputedStyle(list);
  const [height, gap] = [parseFloat(style.getPropertyValue("--row")), parseFloat(style.columnGap)];
  if (!width || list.dataset.done === `${width} ${list.childElementCount}`) return;
  list.dataset.done = `${width} ${list.childElementCount}`;
  let line = [];
  let ratios = 0;
  for (const tile of list.children) {
    line.push(tile);
    ratios += Number(tile.style.getPropertyValue("--ratio"));
    const room = width - gap * (line.length - 1);
    if (ratios * height < room) continue;
    size(line, room / ratios);
    [line, ratios] = [[], 0];
  }
  size(line, height);
}

function size(line, height) {
  for (const tile of line) {
    tile.style.height = `${height}px`;
    tile.style.width = `${Math.floor(Number(tile.style.getPropertyValue("--ratio")) * height * 64) / 64}px`;
  }
}
