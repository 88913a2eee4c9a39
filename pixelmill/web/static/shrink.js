// A picture that is searched with is scaled down to what models look at, before it is sent: theirs is a few hundred pixels.

const LARGE = 2_000_000;
const LONGEST = 1600;

// What to send of a file: itself if it is small, or if the browser cannot read it (the server may).
export async function shrunk(file, limit = LARGE) {
  if (file.size <= Math.min(LARGE, limit)) return file;
  try {
    return (await scaled(file)) ?? file;
  } catch {
    return file;
  }
}

// Upright, with what is transparent, as WebP; as PNG where a browser writes no WebP.
async function scaled(file) {
  const picture = await createImageBitmap(file, { imageOrientation: "from-image" });
  const by = Math.min(1, LONGEST / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * by));
  canvas.height = Math.max(1, Math.round(picture.height * by));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  const made = await new Promise((done) => canvas.toBlob(done, "image/webp", 0.95));
  return made && made.size < file.size ? made : null;
}
