<?php
// A form that comes back, by GET and by POST, and what the server has told PHP. It runs in php-cgi and in php-fpm.
declare(strict_types=1);

header('Content-Type: text/html; charset=utf-8');
$text = fn($value): string => htmlspecialchars(is_array($value) ? json_encode($value) : (string) $value, ENT_QUOTES);
$rows = function (array $values) use ($text): string {
    ksort($values);
    $html = '';
    foreach ($values as $name => $value) {
        $html .= "<tr><th>{$text($name)}<td>{$text($value)}\n";
    }
    return $html;
};
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>PHP</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
  body { max-width: 48rem; margin: 3rem auto; padding: 0 1rem; }
  h1 { font-size: 1.4rem; }
  input, button { font: inherit; padding: .3rem .6rem; }
  table { font-size: .85rem; text-align: left; }
  th { font-weight: normal; opacity: .6; padding-right: 1rem; vertical-align: top; }
  td { overflow-wrap: anywhere; }
</style>

<h1>PHP <?= $text(PHP_VERSION) ?>, <?= $text(PHP_SAPI) ?></h1>
<p id="served">Process <?= getmypid() ?> answers <?= $text($_SERVER['REQUEST_METHOD']) ?>.</p>

<form method="get"><input name="name" placeholder="by GET"> <button>GET</button></form>
<form method="post" enctype="multipart/form-data"><input name="name" placeholder="by POST"> <button>POST</button></form>

<?php if ($_GET): ?>
<h2>GET</h2>
<table id="get"><?= $rows($_GET) ?></table>
<?php endif ?>
<?php if ($_POST): ?>
<h2>POST</h2>
<table id="post"><?= $rows($_POST) ?></table>
<?php endif ?>

<h2>Environment</h2>
<table id="server"><?= $rows($_SERVER) ?></table>
</html>
